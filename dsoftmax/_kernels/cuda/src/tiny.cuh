// Rows of few elements, one after the other, whose number is known when the kernel is compiled.
//
// A warp brings 32 * EACH rows to shared memory in pieces, as they lie; a lane takes EACH whole rows
// from there, puts results in their place, and the warp takes them away.  The warps of a block have
// nothing in common.

// From memory to shared memory without a register in between, where a device can.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
__device__ __forceinline__ void bring(Piece *to, const Piece *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                     (unsigned)__cvta_generic_to_shared(to)
                 ),
                 "l"(from)
                 : "memory");
}
__device__ __forceinline__ void wait_for_all() { asm volatile("cp.async.wait_all;" ::: "memory"); }
#else
__device__ __forceinline__ void bring(Piece *to, const Piece *from) { *to = load_piece(from); }
__device__ __forceinline__ void wait_for_all() {}
#endif

// A row in the largest words that its size is a multiple of.
template <int BYTES> struct Word;
template <> struct Word<16> {
    typedef Piece Type;
};
template <> struct Word<8> {
    typedef unsigned long long Type;
};
template <> struct Word<4> {
    typedef unsigned Type;
};
template <> struct Word<2> {
    typedef unsigned short Type;
};

// A row as a lane has it.  In shared memory rows follow one another; of rows that are an even number
// of pieces long, pieces are exchanged within a row by the number of the row, so that no lanes wait
// for the same bank, neither where each takes its row nor where all bring or take what is adjacent.
template <typename Bits, int length> union RowOf {
    static const int BYTES = length * sizeof(Bits);
    static const int LARGEST = BYTES % 16 == 0 ? 16 : BYTES % 8 == 0 ? 8 : BYTES % 4 == 0 ? 4 : 2;
    static const int PIECES = BYTES % 16 == 0 ? BYTES / 16 : 1;  // or of a row in no such order
    static const int TURNS = PIECES % 8 == 0 ? 8 : PIECES % 4 == 0 ? 4 : PIECES % 2 == 0 ? 2 : 1;
    typedef typename Word<LARGEST>::Type Largest;
    Largest word[BYTES / LARGEST];
    Bits element[length];

    __device__ __forceinline__ RowOf() {}

    static __device__ __forceinline__ int turn(int row) { return row / (8 / TURNS) % TURNS; }

    // Where piece i of all rows is, and an element of one.
    static __device__ __forceinline__ int place(int i)
    {
        return TURNS > 1 ? i ^ turn(i / PIECES) : i;
    }
    static __device__ __forceinline__ Bits *at(char *rows, int row, int i)
    {
        const int in_row = i * int(sizeof(Bits));
        return (Bits *)(rows + row * BYTES + (TURNS > 1 ? in_row ^ turn(row) * 16 : in_row));
    }

    __device__ __forceinline__ void get(const char *rows, int row)
    {
        const Largest *from = (const Largest *)(rows + row * BYTES);
#pragma unroll
        for (int i = 0; i < BYTES / LARGEST; ++i) word[i] = from[TURNS > 1 ? i ^ turn(row) : i];
    }

    __device__ __forceinline__ void put(char *rows, int row) const
    {
        Largest *to = (Largest *)(rows + row * BYTES);
#pragma unroll
        for (int i = 0; i < BYTES / LARGEST; ++i) to[TURNS > 1 ? i ^ turn(row) : i] = word[i];
    }
};

// So many rows on their way between memory and a warp's share of shared memory.
template <typename Bits, int length, int ROWS> struct RowsOfWarp {
    typedef RowOf<Bits, length> Own;
    static const int PIECES = ROWS * Own::BYTES / int(sizeof(Piece));

    char *const rows;
    const int count;
    const bool whole;  // and where pieces begin

    __device__ __forceinline__ RowsOfWarp(char *rows, int count, unsigned long long addresses)
        : rows(rows), count(count), whole(count == ROWS && addresses % sizeof(Piece) == 0)
    {
    }

    __device__ __forceinline__ void load(const Bits *x, int lane) const
    {
        if (whole) {
#pragma unroll
            for (int k = 0; k < (PIECES + WARP - 1) / WARP; ++k) {
                const int i = k * WARP + lane;
                if (PIECES % WARP == 0 || i < PIECES)
                    bring((Piece *)rows + Own::place(i), (const Piece *)x + i);
            }
            wait_for_all();
        } else {
#pragma unroll 1
            for (int i = lane; i < count * length; i += WARP)
                *Own::at(rows, i / length, i % length) = x[i];
        }
    }

    __device__ __forceinline__ void store(Bits *y, int lane) const
    {
        if (whole) {
#pragma unroll
            for (int k = 0; k < (PIECES + WARP - 1) / WARP; ++k) {
                const int i = k * WARP + lane;
                if (PIECES % WARP == 0 || i < PIECES)
                    store_piece((Piece *)y + i, ((const Piece *)rows)[Own::place(i)]);
            }
        } else {
#pragma unroll 1
            for (int i = lane; i < count * length; i += WARP)
                y[i] = *Own::at(rows, i / length, i % length);
        }
    }
};

// log d of the elements of a row, whose differences to m take their place.  Up to three float32 are
// added as such: but for one, they are exponentials of which no two have to be rounded.
template <typename Add, int length, typename Real>
__device__ __forceinline__ Real logarithm(Real *v, Real m)
{
    float at_maximum = 0;
    if constexpr (length <= 3 && sizeof(Real) == 4) {
        float terms[length];
#pragma unroll
        for (int i = 0; i < length; ++i) {
            const float below = v[i] - m;
            terms[i] = take(Add::exponential(below), v[i], m, at_maximum);
            v[i] = below;
        }
        return log_of(at_maximum, pairwise<length>(terms), Real());
    } else {
        const double s = Add::template sum<length>(v, m, at_maximum);
        return log_of(double(at_maximum), s, Real());
    }
}

template <typename Element, int output, int length, int EACH, int SIZE>
__device__ __forceinline__ void tiny(const Rows &call)
{
    typedef typename Element::Real Real;
    typedef typename Element::Bits Bits;
    typedef RowOf<Bits, length> Own;
    typedef Adding<Element, output> Add;
    const bool writes = output == SOFTMAX || output == LOG_SOFTMAX;
    const int TILE = WARP * EACH;
    __shared__ Piece space[SIZE / WARP][TILE * Own::BYTES / sizeof(Piece)];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const long long start = ((long long)blockIdx.x * (SIZE / WARP) + warp) * TILE;
    if (start >= call.rows) return;
    const int count = int(shortest(call.rows - start, TILE));
    char *const own = (char *)space[warp];
    const Bits *x = (const Bits *)call.x + start * length;
    Bits *y = (Bits *)call.y + start * length;
    const RowsOfWarp<Bits, length, TILE> tile(
        own, count, (unsigned long long)x | (writes ? (unsigned long long)y : 0)
    );
    tile.load(x, lane);
    __syncwarp();
    // All rows are loaded before one is stored, so that they do not wait for one another.
    RowOf<Bits, length> row[EACH];
#pragma unroll
    for (int r = 0; r < EACH; ++r) row[r].get(own, r * WARP + lane);
    State<Real> state[EACH];
    Real value[EACH];
#pragma unroll
    for (int r = 0; r < EACH; ++r) {
        Real v[length];
#pragma unroll
        for (int i = 0; i < length; ++i) v[i] = Element::decode(row[r].element[i]);
        const Real m = top_of<length>(v);
        float at_maximum = 0;
        if constexpr (Add::LOGARITHM) {
            const Real log_d = logarithm<Add, length>(v, m);
#pragma unroll
            for (int i = 0; i < length; ++i) row[r].element[i] = Element::encode(v[i] - log_d);
            value[r] = m + log_d;
        } else {
            const double s = Add::template sum<length>(v, m, at_maximum);
            if constexpr (output == STATE) {
                state[r] = state_of(m, Total{at_maximum, Sum(s, 0)}, length);
            } else {
                const Real factor = reciprocal_of(s, Real());
#pragma unroll
                for (int i = 0; i < length; ++i) row[r].element[i] = Element::encode(v[i] * factor);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < EACH; ++r) {
        const int in_tile = r * WARP + lane;
        if constexpr (writes)
            row[r].put(own, in_tile);
        else if (in_tile < count) {
            if constexpr (output == STATE)
                call.states.put<Real, PLAIN>(start + in_tile, state[r]);
            else
                ((Bits *)call.y)[start + in_tile] = Element::encode(value[r]);
        }
    }
    if constexpr (writes) {
        __syncwarp();
        tile.store(y, lane);
    }
}

#define TINY(name, Element, output, length, EACH, SIZE, BLOCKS)                        \
    extern "C" __global__ void __launch_bounds__(SIZE, BLOCKS)                         \
        name(const __grid_constant__ Rows call)                                        \
    {                                                                                  \
        tiny<Element, output, length, EACH, SIZE>(call);                               \
    }
