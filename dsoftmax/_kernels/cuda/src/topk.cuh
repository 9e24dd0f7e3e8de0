// Softmax and top-k of long rows in one reading (arXiv:1805.02867, Algorithm 4): a thread block for
// each part of a row, and one for each row that had parts.

// The state of a block from those of its warps; of all threads in the first warp.
template <typename Real>
__device__ __forceinline__ State<Real> of_warps(const Agreed<Real, 32> &own, long long count)
{
    const int WARPS = TOPK_THREADS / 32, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    __shared__ Real m[WARPS], reference[WARPS];
    __shared__ double w[WARPS], value[WARPS], error[WARPS];
    const double at_maximum = team_sum<32>(own.w.value);
    const Sum rest = team_sum<32>(own.s);
    if (lane == 0) {
        m[warp] = own.m, reference[warp] = own.reference, w[warp] = at_maximum;
        value[warp] = rest.value, error[warp] = rest.error;
    }
    __syncthreads();
    Agreed<Real, 32> whole;
    if (warp > 0) return whole.state();
    if (lane < WARPS) {
        whole.m = m[lane], whole.reference = reference[lane];
        whole.w.value = w[lane], whole.s = Sum(value[lane], error[lane]);
    }
    whole.move(whole.largest(whole.m));
    return whole.united(count);
}

// What the first thread has, for all of them.
template <typename Real> __device__ __forceinline__ State<Real> of_the_first(const State<Real> &own)
{
    __shared__ double m, w, s;
    if (threadIdx.x == 0) m = own.m, w = own.w, s = own.s;
    __syncthreads();
    return {Real(m), w, s, 0, 0};
}

// The k best of a part and its state; of a row if that has one part.  A thread has AT_ONCE pieces of
// a tile in registers, while those of the next tile arrive.
template <typename Element, int AT_ONCE> __device__ __forceinline__ void topk_part(const TopK &call)
{
    typedef typename Element::Real Real;
    typedef typename Element::Bits Bits;
    typedef typename Ordered<Real>::Type Order;
    typedef Pieces<Element, TOPK_THREADS> Run;
    const int EACH = AT_ONCE * Run::N, TILE = AT_ONCE * TOPK_THREADS;  // elements, pieces
    const int thread = threadIdx.x;
    const long long row = blockIdx.x / call.parts, part = blockIdx.x - row * call.parts;
    const long long start = part * call.portion;
    const int length = int(shortest(call.portion, call.length - start));
    const Run run(call.x + row * call.stride + start * (long long)sizeof(Bits), length);
    const int pieces = run.count();
    CANDIDATES(candidates, Order, int, EACH, call.k);
    Agreed<Real, 32> state;

    const auto load = [&](Piece(&to)[AT_ONCE], int tile) {
        const int piece = tile + thread;
        if (tile > 0 && tile + TILE < pieces) {
#pragma unroll
            for (int p = 0; p < AT_ONCE; ++p) to[p] = run.whole(piece + p * TOPK_THREADS);
        } else {
#pragma unroll
            for (int p = 0; p < AT_ONCE; ++p)
                to[p] = run.any(piece + p * TOPK_THREADS, call.none<Element>());
        }
    };
    Piece next[AT_ONCE];
    load(next, 0);
#pragma unroll 1
    for (int tile = 0; tile < pieces; tile += TILE) {
        Real x[EACH];
#pragma unroll
        for (int i = 0; i < EACH; ++i)
            x[i] = call.turned(Element::decode(taken<Bits>(next[i / Run::N], i % Run::N)));
        if (tile + TILE < pieces) load(next, tile + TILE);
        const Real top = top_of<EACH>(x);
        if (call.normalized()) state.add(x, top);
        const int first = run.index(tile, 0, 0);
        const auto index_of = [&](int i) { return run.index(tile, thread, i); };
        candidates.add(
            // What is equal to the limit is beyond it, for its index is larger.
            ordered(top, ~Order(0)) > candidates.limit.order,
            first < 0 ? 0 : first,
            int(shortest(first + TILE * Run::N, length)),
            [&](int i) {
                const Order order = ordered(x[i], call.template of_nan<Real>());
                return run.has(index_of(i)) ? order : Order(0);
            },
            index_of
        );
    }

    State<Real> whole = {0, 0, 0, 0, 0};
    if (call.normalized()) {
        whole = of_warps(state, length);
        if (call.parts > 1 && thread == 0) {
            call.part_m[blockIdx.x] = whole.m;
            call.part_w[blockIdx.x] = whole.w;
            call.part_s[blockIdx.x] = whole.s;
        } else if (call.parts == 1) {
            whole = of_the_first(whole);
            if (thread == 0) call.put(row, whole);
        }
    }
    Order *orders = (Order *)call.part_orders;
    const auto place = [&](int rank) { return (row * call.k + rank) * call.parts + part; };
    if (call.parts > 1 && length < call.k && thread < call.k) orders[place(thread)] = 0;
    candidates.best(length, [&](int rank, Order order, int index) {
        if (call.parts == 1) {
            call.put<Element>(row, rank, index, whole);
        } else {
            orders[place(rank)] = order;
            call.part_indices[place(rank)] = start + index;
        }
    });
}

// The k best of a row from those of its parts, the best of all parts first; and its state.
template <typename Element> __device__ __forceinline__ void topk_merge(const TopK &call)
{
    typedef typename Element::Real Real;
    typedef typename Ordered<Real>::Type Order;
    const int EACH = 4;
    const long long row = blockIdx.x, count = call.parts * call.k;
    const Order *orders = (const Order *)call.part_orders + row * count;
    const long long *indices = call.part_indices + row * count;
    CANDIDATES(candidates, Order, long long, EACH, call.k);
#pragma unroll 1
    for (long long tile = 0; tile < count; tile += EACH * TOPK_THREADS) {
        const auto place = [&](int i) { return tile + i * TOPK_THREADS + threadIdx.x; };
        const auto order_of = [&](int i) { return place(i) < count ? orders[place(i)] : Order(0); };
        Order most = 0;
#pragma unroll
        for (int i = 0; i < EACH; ++i) most = order_of(i) > most ? order_of(i) : most;
        candidates.add(most >= candidates.limit.order, 0, call.length, order_of, [&](int i) {
            return order_of(i) > 0 ? indices[place(i)] : candidates.LAST;
        });
    }
    State<Real> whole = {0, 0, 0, 0, 0};
    if (call.normalized()) {
        const double *m = call.part_m + row * call.parts;
        Agreed<Real, 32> state;
        Real top = state.m;
#pragma unroll 1
        for (long long part = threadIdx.x; part < call.parts; part += TOPK_THREADS)
            top = larger(top, Real(m[part]));
        state.move(state.largest(top));
#pragma unroll 1
        for (long long part = threadIdx.x; part < call.parts; part += TOPK_THREADS) {
            const long long i = row * call.parts + part;
            const State<Real> one = {Real(m[part]), call.part_w[i], call.part_s[i], 0, 0};
            state.add(Running<Real>(one));
        }
        whole = of_the_first(of_warps(state, call.length));
        if (threadIdx.x == 0) call.put(row, whole);
    }
    candidates.best(call.length, [&](int rank, Order, long long index) {
        call.put<Element>(row, rank, index, whole);
    });
}

// What is found of the probabilities of the k best, or of their logarithms.
struct TopKEnd {
    const char *values;
    char *y;
    const void *m;
    const double *w, *s;
    long long rows, k, logarithm;
};

template <typename Element> __device__ __forceinline__ void topk_end(const TopKEnd &call)
{
    typedef typename Element::Real Real;
    typedef typename Element::Bits Bits;
    const long long count = call.rows * call.k, step = (long long)gridDim.x * TOPK_THREADS;
#pragma unroll 1
    for (long long i = (long long)blockIdx.x * TOPK_THREADS + threadIdx.x; i < count; i += step) {
        const long long row = (i | call.k) >> 32 ? i / call.k : unsigned(i) / unsigned(call.k);
        const State<Real> state = {((const Real *)call.m)[row], call.w[row], call.s[row], 0, 0};
        const double d_or_log = call.logarithm ? state.log_d() : state.w + state.s;
        const Map<Real> map(state.m, d_or_log, call.logarithm);
        ((Bits *)call.y)[i] = Element::encode(map(Element::decode(((const Bits *)call.values)[i])));
    }
}

#define TOPK_KERNEL(name, Argument, BLOCKS, function)                           \
    extern "C" __global__ void __launch_bounds__(TOPK_THREADS, BLOCKS)          \
        name(const __grid_constant__ Argument call)                             \
    {                                                                           \
        function(call);                                                         \
    }
#define TOPK_PART(name, Element, AT_ONCE)                                       \
    extern "C" __global__ void                                                  \
        __launch_bounds__(TOPK_THREADS, sizeof(Element::Bits) == 4 ? 5 : 4)     \
        name(const __grid_constant__ TopK call)                                 \
    {                                                                           \
        topk_part<Element, AT_ONCE>(call);                                      \
    }
#define TOPK_MERGE(name, Element) TOPK_KERNEL(name, TopK, 4, topk_merge<Element>)
#define TOPK_END(name, Element) TOPK_KERNEL(name, TopKEnd, 4, topk_end<Element>)
