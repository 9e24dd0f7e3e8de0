// Softmax and top-k of short rows: a team of a warp's threads holds a row in registers.

enum { ROWS_THREADS = 128 };         // of a block
enum { GROUP = 4, CANDIDATES = 4 };  // elements that are compared as one; of each thread, at most

// How many blocks a multiprocessor is to have at a time, so that no register is spilled.
template <typename Element, int EACH>
constexpr int ROWS_BLOCKS = EACH * sizeof(typename Element::Real) > 64 ? 4 : 8;

template <typename Element, int TEAM, int EACH> struct TopKRow {
    typedef typename Element::Real Real;
    typedef typename Element::Bits Bits;
    typedef typename Ordered<Real>::Type Order;
    typedef Agreed<Real, TEAM> Team;
    typedef Pieces<Element, TEAM> Run;

    const TopK &call;
    const int lane, thread;
    const long long row;
    const bool present;  // the others go along, for the warp to stay together
    const Run run;
    Real x[EACH];

    __device__ __forceinline__ explicit TopKRow(const TopK &call)
        : call(call),
          lane(threadIdx.x % 32),
          thread(threadIdx.x % TEAM),
          row((long long)blockIdx.x * (ROWS_THREADS / TEAM) + threadIdx.x / TEAM),
          present(row < call.rows),
          run(call.x + (present ? row : 0) * call.stride, present ? int(call.length) : 0)
    {
        const Bits none = call.none<Element>();
#pragma unroll
        for (int p = 0; p < EACH / Run::N; ++p) {
            const Piece piece = run.any(p * TEAM + thread, none);
#pragma unroll
            for (int i = 0; i < Run::N; ++i)
                x[p * Run::N + i] = call.turned(Element::decode(taken<Bits>(piece, i)));
        }
    }

    __device__ __forceinline__ State<Real> state() const
    {
        Real top = x[0];
#pragma unroll
        for (int i = 1; i < EACH; ++i) top = larger(top, x[i]);
        top = Team::largest(top);
        double terms[EACH];
        float at_maximum = 0;
#pragma unroll
        for (int i = 0; i < EACH; ++i)
            terms[i] = take(exponential(x[i] - top), x[i], top, at_maximum);
        double s = pairwise<EACH>(terms);
        s = TEAM > 8 ? team_sum<TEAM>(Sum(s, 0)).total() : team_sum<TEAM>(s);  // few lose nothing
        State<Real> whole = {top, double(team_sum<TEAM>(at_maximum)), s, 0, 0};
        if (s != s) whole.m = Real(nan()), whole.w = 0;
        return Team::counted(whole, call.length);
    }

    static __device__ __forceinline__ Order largest(Order order)
    {
#pragma unroll
        for (int half = TEAM / 2; half > 0; half /= 2) {
            const Order other = __shfl_xor_sync(ALL_LANES, order, half);
            order = other > order ? other : order;
        }
        return order;
    }

    // What at least k elements reach, and few more: the best elements of k groups do, of which a
    // round takes one, or some that are equal.  0 if there are too few.
    __device__ __forceinline__ Order limit() const
    {
        const int GROUPS = EACH / GROUP;
        const unsigned team = (TEAM < 32 ? (1u << TEAM % 32) - 1 : ALL_LANES) << (lane - thread);
        Order tops[GROUPS], limit = 0;
#pragma unroll
        for (int g = 0; g < GROUPS; ++g) {
            Real top = x[g * GROUP];
#pragma unroll
            for (int i = 1; i < GROUP; ++i) top = top_of(top, x[g * GROUP + i]);
            tops[g] = ordered(top, call.template of_nan<Real>());
        }
#pragma unroll 1
        for (int rank = 0; rank < call.k; ++rank) {
            Order own = tops[0];
#pragma unroll
            for (int g = 1; g < GROUPS; ++g) own = tops[g] > own ? tops[g] : own;
            limit = largest(own);
            const unsigned holders = __ballot_sync(ALL_LANES, own == limit) & team;
            const bool first = (holders & (0 - holders)) == 1u << lane;
#pragma unroll
            for (int g = 0; g < GROUPS; ++g)
                if (first && tops[g] == limit) tops[g] = 0;
        }
        return limit > ordered(Real(-infinity()), Order(0)) ? limit : 0;
    }

    // The k best of those that reach a limit, if all rows of the warp have few enough of them.
    __device__ __forceinline__ bool best_of_few(Order limit, const State<Real> &state) const
    {
        const int SPACE = TEAM * CANDIDATES, team = threadIdx.x / TEAM;
        __shared__ Order all_orders[ROWS_THREADS * CANDIDATES];
        __shared__ int all_indices[ROWS_THREADS * CANDIDATES];
        __shared__ unsigned filled[ROWS_THREADS / TEAM];
        Order *orders = all_orders + team * SPACE;
        int *indices = all_indices + team * SPACE;
        const Real least = Ordered<Real>::inverse(limit);
        unsigned passing = 0;
#pragma unroll
        for (int i = 0; i < EACH; ++i) passing |= unsigned(!(x[i] < least)) << i;
        if (thread == 0) filled[team] = 0;
        __syncwarp();
        unsigned place = 0;
        if (limit > 0 && passing) place = atomicAdd(&filled[team], (unsigned)__popc(passing));
        __syncwarp();
        const int n = int(filled[team]);
        if (__any_sync(ALL_LANES, present && (limit == 0 || n > SPACE))) return false;
        for (; limit > 0 && passing; passing &= passing - 1, ++place) {
            const int index = run.index(0, thread, __ffs(int(passing)) - 1);
            const Real one = call.turned(load<Element>(at(index)));
            orders[place] = ordered(one, call.template of_nan<Real>());
            indices[place] = index;
        }
        __syncwarp();
        for (int j = thread; j < n; j += TEAM) {
            const Order order = orders[j];
            const int index = indices[j];
            int rank = 0;
#pragma unroll 1
            for (int i = 0; i < n; ++i)
                rank += orders[i] > order || (orders[i] == order && indices[i] < index);
            if (rank < call.k) call.put<Element>(row, rank, index, state);
        }
        return true;
    }

    __device__ __forceinline__ const char *at(int index) const
    {
        return call.x + row * call.stride + index * (long long)sizeof(Bits);
    }

    // The k best of all, one after the other.
    __device__ __forceinline__ void best_of_all(const State<Real> &state) const
    {
        Order orders[EACH];
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const Order order = ordered(x[i], call.template of_nan<Real>());
            orders[i] = run.has(run.index(0, thread, i)) ? order : 0;
        }
        int kept = 0;  // the index of one of every TEAM ranks
#pragma unroll 1
        for (int rank = 0; rank < call.k; ++rank) {
            Order own = 0;
            int mine = 0;
#pragma unroll
            for (int i = 0; i < EACH; ++i)
                if (orders[i] > own) own = orders[i], mine = i;  // the first of equal ones
            const Order best = largest(own);
            const int place = run.index(0, thread, mine);
            int index = own == best ? place : 0x7fffffff;
#pragma unroll
            for (int half = TEAM / 2; half > 0; half /= 2) {
                const int other = __shfl_xor_sync(ALL_LANES, index, half);
                index = other < index ? other : index;
            }
            const bool taken_here = own == best && place == index;
#pragma unroll
            for (int i = 0; i < EACH; ++i)
                if (taken_here && i == mine) orders[i] = 0;
            if (rank % TEAM == thread) kept = index;
            const int first = rank / TEAM * TEAM;
            const bool last = rank - first == TEAM - 1 || rank == call.k - 1;
            if (present && last && first + thread <= rank)
                call.put<Element>(row, first + thread, kept, state);
        }
    }
};

template <typename Element, int TEAM, int EACH>
__device__ __forceinline__ void topk_rows(const TopK &call)
{
    const TopKRow<Element, TEAM, EACH> row(call);
    State<typename Element::Real> state = {0, 0, 0, 0, 0};
    if (call.normalized()) {
        state = row.state();
        if (row.present && row.thread == 0) call.put(row.row, state);
    }
    if (!row.best_of_few(row.limit(), state)) row.best_of_all(state);
}

#define TOPK_ROWS(name, Element, TEAM, EACH)                                         \
    extern "C" __global__ void                                                       \
    __launch_bounds__(ROWS_THREADS, ROWS_BLOCKS<Element, EACH>)                      \
        name(const __grid_constant__ TopK call)                                      \
    {                                                                                \
        topk_rows<Element, TEAM, EACH>(call);                                        \
    }
