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

template <bool COARSE> struct Sums {
    typedef double Type;
};
template <> struct Sums<true> {
    typedef float Type;
};

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

// How the exponentials of elements are added for an output.
//
// For a state and for logarithms the elements at the maximum are counted, and the sum is of the rest;
// for a softmax it is of all.  Results of half precision come from coarse exponentials, eight of
// which are added in float.
template <typename Element, int output> struct Adding {
    typedef typename Element::Real Real;
    static const bool COARSE = output != STATE && sizeof(typename Element::Bits) == 2;
    static const bool LOGARITHM = output == LOG_SOFTMAX || output == LOGSUMEXP;
    static const bool COUNTS = output == STATE || LOGARITHM;

    static __device__ __forceinline__ Real exponential(Real x)
    {
        if constexpr (COARSE)
            return coarse_exponential<Element>(x);
        else
            return ::exponential(x);
    }

    // Of N elements, pairwise.  Exponentials take the place of elements for a softmax, differences
    // for a logarithm.
    template <int N>
    static __device__ __forceinline__ double sum(Real *x, Real m, float &at_maximum)
    {
        if constexpr (N > 8) {
            const int HALF = (N / 8 + 1) / 2 * 8 < N ? (N / 8 + 1) / 2 * 8 : N / 2;
            const double first = sum<HALF>(x, m, at_maximum);
            return first + sum<N - HALF>(x + HALF, m, at_maximum);
        } else {
            typename Sums<COARSE>::Type terms[N];
#pragma unroll
            for (int i = 0; i < N; ++i) {
                const Real below = x[i] - m, e = exponential(below);
                terms[i] = COUNTS ? take(e, x[i], m, at_maximum) : e;
                if (output == SOFTMAX) x[i] = e;
                if (LOGARITHM) x[i] = below;
            }
            return pairwise<N>(terms);
        }
    }
};

template <typename Element, int output, int PIECES, int TEAM>
__device__ __forceinline__ void rows(const Rows &call)
{
    typedef typename Element::Real Real;
    typedef typename Element::Bits Bits;
    typedef Adding<Element, output> Add;
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
    const double own = Add::template sum<N * PIECES>(v, m, at_maximum);
    const Total total = team_total<TEAM>(at_maximum, Sum(own, 0), exact);
    Real logarithm = 0;  // of d; none where m is infinite
    if constexpr (Add::LOGARITHM) logarithm = log_of(total.w, total.s.total(), Real());
    if (!present) return;
    if constexpr (output == STATE) {
        if (lane == 0) call.states.put<Real, PLAIN>(row, state_of(m, total, length));
    } else if constexpr (output == LOGSUMEXP) {
        if (lane == 0) ((Bits *)call.y)[row] = Element::encode(m + logarithm);
    } else {
        const Real factor = reciprocal_of(total.s.total(), Real());
        Bits *y = (Bits *)call.y + row * length;
        Piece *to = (Piece *)(y - before) + lane;
#pragma unroll
        for (int i = 0; i < PIECES; ++i) {
            const int end = length + before - (i * TEAM + lane) * N;
            Real r[N];
#pragma unroll
            for (int k = 0; k < N; ++k)
                r[k] = output == SOFTMAX ? v[i * N + k] * factor : v[i * N + k] - logarithm;
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
