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

template <typename Bits, int length> union RowOf {
    static const int BYTES = length * sizeof(Bits);
    static const int LARGEST = BYTES % 16 == 0 ? 16 : BYTES % 8 == 0 ? 8 : BYTES % 4 == 0 ? 4 : 2;
    // Lanes whose rows are a multiple of 32 bytes apart would wait for the same bank.
    static const int APART = BYTES + (BYTES % 32 == 0 ? 16 : 0);
    typedef typename Word<LARGEST>::Type Largest;
    Largest word[BYTES / LARGEST];
    Bits element[length];

    __device__ __forceinline__ RowOf() {}

    __device__ __forceinline__ void get(const char *from)
    {
#pragma unroll
        for (int i = 0; i < BYTES / LARGEST; ++i) word[i] = ((const Largest *)from)[i];
    }

    __device__ __forceinline__ void put(char *to) const
    {
#pragma unroll
        for (int i = 0; i < BYTES / LARGEST; ++i) ((Largest *)to)[i] = word[i];
    }
};

template <typename Element, int output, int length, int EACH, int SIZE>
__device__ __forceinline__ void tiny(const Rows &call)
{
    typedef typename Element::Real Real;
    typedef typename Element::Bits Bits;
    typedef RowOf<Bits, length> Own;
    const bool writes = output == SOFTMAX || output == LOG_SOFTMAX;
    const int TILE = WARP * EACH, PIECES = TILE * Own::BYTES / sizeof(Piece);
    const int OF_A_ROW = Own::BYTES < 16 ? 1 : Own::BYTES / 16;
    const bool gaps = Own::APART > Own::BYTES;
    __shared__ Piece space[SIZE / WARP][TILE * Own::APART / sizeof(Piece)];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const long long tile = (long long)blockIdx.x * (SIZE / WARP) + warp, start = tile * TILE;
    if (start >= call.rows) return;
    const int count = int(shortest(call.rows - start, TILE));
    char *const own = (char *)space[warp];
    const Bits *x = (const Bits *)call.x + start * length;
    Bits *y = (Bits *)call.y + start * length;
    const unsigned long long addresses = (unsigned long long)x | (writes ? (unsigned long long)y : 0);
    const bool in_pieces = count == TILE && addresses % sizeof(Piece) == 0;
    if (in_pieces) {
#pragma unroll
        for (int k = 0; k < (PIECES + WARP - 1) / WARP; ++k) {
            const int i = k * WARP + lane;
            if (PIECES % WARP == 0 || i < PIECES)
                bring((Piece *)own + i + (gaps ? i / OF_A_ROW : 0), (const Piece *)x + i);
        }
        wait_for_all();
    } else {
#pragma unroll 1
        for (int i = lane; i < count * length; i += WARP)
            *(Bits *)(own + i / length * Own::APART + i % length * sizeof(Bits)) = x[i];
    }
    __syncwarp();
    // All rows are loaded before one is stored, so that they do not wait for one another.
    RowOf<Bits, length> row[EACH];
#pragma unroll
    for (int r = 0; r < EACH; ++r) row[r].get(own + (r * WARP + lane) * Own::APART);
    State<Real> state[EACH];
    Real value[EACH];
#pragma unroll
    for (int r = 0; r < EACH; ++r) {
        Real v[length];
#pragma unroll
        for (int i = 0; i < length; ++i) v[i] = Element::decode(row[r].element[i]);
        const Real m = top_of<length>(v);
        float at_maximum = 0;
        const double s = sum_of<length, output>(v, m, at_maximum);
        if constexpr (writes) {
            const Real factor = output == SOFTMAX ? reciprocal_of(s, Real())
                                                  : log_of(at_maximum, s, Real());
#pragma unroll
            for (int i = 0; i < length; ++i)
                row[r].element[i] = Element::encode(
                    output == SOFTMAX ? v[i] * factor : (v[i] - m) - factor
                );
        } else if constexpr (output == STATE) {
            state[r] = state_of(m, Total{at_maximum, Sum(s, 0)}, length);
        } else {
            value[r] = Real(double(m) + double(log_of(at_maximum, s, Real())));
        }
    }
#pragma unroll
    for (int r = 0; r < EACH; ++r) {
        const int in_tile = r * WARP + lane;
        if constexpr (writes)
            row[r].put(own + in_tile * Own::APART);
        else if (in_tile < count) {
            if constexpr (output == STATE)
                call.states.put<Real, PLAIN>(start + in_tile, state[r]);
            else
                ((Bits *)call.y)[start + in_tile] = Element::encode(value[r]);
        }
    }
    if constexpr (writes) {
        __syncwarp();
        if (in_pieces) {
#pragma unroll
            for (int k = 0; k < (PIECES + WARP - 1) / WARP; ++k) {
                const int i = k * WARP + lane;
                if (PIECES % WARP == 0 || i < PIECES)
                    store_piece((Piece *)y + i, ((Piece *)own)[i + (gaps ? i / OF_A_ROW : 0)]);
            }
        } else {
#pragma unroll 1
            for (int i = lane; i < count * length; i += WARP)
                y[i] = *(Bits *)(own + i / length * Own::APART + i % length * sizeof(Bits));
        }
    }
}

#define TINY(name, Element, output, length, EACH, SIZE, BLOCKS)                        \
    extern "C" __global__ void __launch_bounds__(SIZE, BLOCKS)                         \
        name(const __grid_constant__ Rows call)                                        \
    {                                                                                  \
        tiny<Element, output, length, EACH, SIZE>(call);                               \
    }
