// Rows one after the other that fit in the registers of a team: some lanes of a warp, or a block.
//
// Lanes load PIECES pieces of 16 bytes, from the one that the row begins in to the one that it ends
// in; what is there of other rows counts as -inf.  So rows may begin anywhere, and each is read once.

struct Part {
    double m, w, s;
};

// What kernels of rows are told.  All fields have eight bytes.
struct Rows {
    const char *x;
    char *y;  // of the result
    Fields states;  // given, or with `Apply` read: s is d or log d there
    long long rows, length;
    Part *parts;     // of rows that several blocks share
    unsigned *done;  // how many blocks of a row have come to their end: 0 at first, for each row
    long long count;  // of blocks that share a row
    long long gives;  // what becomes of a state, as an output of the list in warps.cuh
};

// The largest of all threads of a block of SIZE; `table` is used once.
template <int SIZE, typename Real>
__device__ __forceinline__ Real block_top(Real x, Real *table)
{
    x = team_top<WARP>(x);
    if (threadIdx.x % WARP == 0) table[threadIdx.x / WARP] = x;
    __syncthreads();
    return team_top<SIZE / WARP>(table[threadIdx.x % (SIZE / WARP)]);
}

struct Total {
    double w;
    Sum s;
};

// The state of a row; where all is -inf, so is what stands for other rows, and was counted.
template <typename Real>
__device__ __forceinline__ State<Real> state_of(Real m, const Total &total, long long length)
{
    const bool nothing = m == Real(-infinity());
    return {m, nothing ? double(length) : total.w, total.s.total(), 0, 0};
}

template <int TEAM, typename Count>
__device__ __forceinline__ Total team_total(Count w, Sum s, bool exact)
{
    __shared__ Total table[WARP];
    const int LANES = TEAM < WARP ? TEAM : WARP;
    Total total = {
        double(team_sum<LANES>(w)),
        exact ? team_sum<LANES>(s) : Sum(team_sum<LANES>(s.value + s.error), 0)
    };
    if constexpr (TEAM > WARP) {
        if (threadIdx.x % WARP == 0) table[threadIdx.x / WARP] = total;
        __syncthreads();
        const Total one = table[threadIdx.x % (TEAM / WARP)];
        total.w = team_sum<TEAM / WARP>(one.w);
        total.s = exact ? team_sum<TEAM / WARP>(one.s)
                        : Sum(team_sum<TEAM / WARP>(one.s.value), 0);
    }
    return total;
}

// The sum of the exponentials of N elements, pairwise.  For a softmax they take the place of the
// elements, and those at the maximum are in the sum; else these are counted.
template <int N, int output, typename Real>
__device__ __forceinline__ double sum_of(Real *x, Real m, float &at_maximum)
{
    if constexpr (N > 8) {
        const int HALF = (N / 8 + 1) / 2 * 8 < N ? (N / 8 + 1) / 2 * 8 : N / 2;
        const double first = sum_of<HALF, output>(x, m, at_maximum);
        return first + sum_of<N - HALF, output>(x + HALF, m, at_maximum);
    } else {
        double terms[N];
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const Real e = exponential(x[i] - m);
            terms[i] = output == SOFTMAX ? double(e) : take(e, x[i], m, at_maximum);
            if (output == SOFTMAX) x[i] = e;
        }
        return pairwise<N>(terms);
    }
}

template <typename Element, int output, int PIECES, int TEAM>
__device__ __forceinline__ void rows(const Rows &call)
{
    typedef typename Element::Real Real;
    typedef typename Element::Bits Bits;
    const int N = sizeof(Piece) / sizeof(Bits), LANES = TEAM < WARP ? TEAM : WARP;
    const bool exact = output == STATE || sizeof(Real) == 8;
    __shared__ Real tops[WARP];
    const int lane = threadIdx.x % TEAM, length = int(call.length);
    long long row = (long long)blockIdx.x;
    if (TEAM <= WARP) row = row * (blockDim.x / TEAM) + threadIdx.x / TEAM;
    const bool present = row < call.rows;
    if (!present) row = call.rows - 1;  // lanes of a warp wait for one another
    const Bits *x = (const Bits *)call.x + row * length;
    const int before = int((unsigned long long)x % sizeof(Piece)) / int(sizeof(Bits));
    const int pieces = (before + length + N - 1) / N;
    const Piece *from = (const Piece *)(x - before) + lane;
    Piece loaded[PIECES];
    loaded[PIECES - 1] = Piece{{0, 0, 0, 0}};
#pragma unroll
    for (int i = 0; i < PIECES; ++i)
        if (i < PIECES - 1 || i * TEAM + lane < pieces) loaded[i] = load_piece(from + i * TEAM);
    Real v[N * PIECES];
    const int first = lane ? 0 : before;
#pragma unroll
    for (int i = 0; i < PIECES; ++i) {
        unpack<Element>(v + i * N, loaded[i]);
        if (i == 0)
#pragma unroll
            for (int k = 0; k < N - 1; ++k) v[k] = k < first ? Real(-infinity()) : v[k];
        if (i >= PIECES - 2) {  // one piece less may do for some rows
            const int end = length + before - (i * TEAM + lane) * N;
#pragma unroll
            for (int k = 0; k < N; ++k) v[i * N + k] = k < end ? v[i * N + k] : Real(-infinity());
        }
    }
    Real m = top_of<N * PIECES>(v);
    if constexpr (TEAM > WARP)
        m = block_top<TEAM>(m, tops);
    else
        m = team_top<LANES>(m);
    float at_maximum = 0;
    const double own = sum_of<N * PIECES, output>(v, m, at_maximum);
    const Total total = team_total<TEAM>(at_maximum, Sum(own, 0), exact);
    if (!present) return;
    if constexpr (output == STATE) {
        if (lane == 0) call.states.put<Real, PLAIN>(row, state_of(m, total, length));
    } else if constexpr (output == LOGSUMEXP) {
        if (lane == 0)
            ((Bits *)call.y)[row] = Element::encode(
                Real(double(m) + double(log_of(total.w, total.s.total(), Real())))
            );
    } else {
        const Real factor = output == SOFTMAX ? reciprocal_of(total.s.total(), Real())
                                              : log_of(total.w, total.s.total(), Real());
        Bits *y = (Bits *)call.y + row * length;
        Piece *to = (Piece *)(y - before) + lane;
#pragma unroll
        for (int i = 0; i < PIECES; ++i) {
            const int end = length + before - (i * TEAM + lane) * N;
            Real r[N];
#pragma unroll
            for (int k = 0; k < N; ++k)
                r[k] = output == SOFTMAX ? v[i * N + k] * factor : (v[i * N + k] - m) - factor;
            if ((i > 0 || first == 0) && (i < PIECES - 2 || end >= N)) {
                store_piece(to + i * TEAM, packed<Element>(r));
            } else {
                Bits *single = y - before + (i * TEAM + lane) * N;
#pragma unroll
                for (int k = 0; k < N; ++k)
                    if ((i > 0 || k >= first) && k < end) single[k] = Element::encode(r[k]);
            }
        }
    }
}

#define ROWS(name, Element, output, PIECES, TEAM, SIZE, BLOCKS)                        \
    extern "C" __global__ void __launch_bounds__(SIZE, BLOCKS)                         \
        name(const __grid_constant__ Rows call)                                        \
    {                                                                                  \
        rows<Element, output, PIECES, TEAM>(call);                                     \
    }
