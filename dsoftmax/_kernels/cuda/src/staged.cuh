// Rows too long for registers that shared memory holds: each is read once, by a block that stays for
// many.  A thread keeps to its own places there, where the next row arrives while this one leaves.

#ifdef __CUDA_ARCH__
extern __shared__ Piece staged[];
#else
static Piece staged[1 << 14];
#endif

// Transfers are counted in groups, of which so many may be still on their way.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
__device__ __forceinline__ void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void wait_but_for()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
#else
__device__ __forceinline__ void end_group() {}
template <int N> __device__ __forceinline__ void wait_but_for() {}
#endif

// A row in pieces, the first and the last of which may be shared with others.
template <typename Element> struct Cut16 {
    static const int ITEM = sizeof(typename Element::Bits), N = sizeof(Piece) / ITEM;
    int before, pieces;
    const Piece *from;

    __device__ __forceinline__ Cut16(const Rows &call, long long row)
    {
        const char *x = call.x + row * call.length * ITEM;
        before = int((unsigned long long)x % sizeof(Piece)) / ITEM;
        pieces = row < call.rows ? (before + int(call.length) + N - 1) / N : 0;
        from = (const Piece *)(x - before * ITEM) + threadIdx.x;
    }
};

template <typename Element, int output, int SIZE>
__device__ __forceinline__ void staged_rows(const Rows &call)
{
    typedef typename Element::Real Real;
    typedef typename Element::Bits Bits;
    const int N = sizeof(Piece) / sizeof(Bits), GROUP = sizeof(Bits) == 2 ? 2 : 4;
    __shared__ Real tops[WARP];
    const int thread = threadIdx.x, length = int(call.length);
    Piece *const own = staged + thread;
    long long row = blockIdx.x;
    Cut16<Element> cut(call, row);
#pragma unroll 1
    for (int g = 0; g * GROUP * SIZE < cut.pieces; ++g) {
#pragma unroll
        for (int k = 0; k < GROUP; ++k) {
            const int i = (g * GROUP + k) * SIZE;
            if (i + thread < cut.pieces) bring(own + i, cut.from + i);
        }
        end_group();
    }
#pragma unroll 1
    for (; row < call.rows; row += gridDim.x) {
        const int groups = (cut.pieces + GROUP * SIZE - 1) / (GROUP * SIZE);
        OfWarp<Real> running;
#pragma unroll 1
        for (int g = 0; g < groups; ++g) {
            const int left = groups - 1 - g;
            if (left >= 6)
                wait_but_for<6>();
            else if (left >= 3)
                wait_but_for<3>();
            else if (left >= 1)
                wait_but_for<1>();
            else
                wait_but_for<0>();
            Real v[N * GROUP];
#pragma unroll
            for (int k = 0; k < GROUP; ++k) {
                const int i = (g * GROUP + k) * SIZE, start = (i + thread) * N - cut.before;
                Piece piece = {{0, 0, 0, 0}};
                if (i + thread < cut.pieces) piece = own[i];
                unpack<Element>(v + k * N, piece);
                if (start < 0 || start + N > length)
#pragma unroll
                    for (int h = 0; h < N; ++h)
                        if (start + h < 0 || start + h >= length) v[k * N + h] = Real(-infinity());
            }
            running.add(v);
        }
        const Real m = block_top<SIZE>(running.m, tops);
        if (running.reference != m && running.s.value != 0)
            running.s.scale(exp(double(running.reference) - double(m)));
        if (running.m != m && running.w != 0)
            running.s.add(running.w * exp(double(running.m) - double(m)));
        const Total total =
            team_total<SIZE>(running.m == m ? running.w : 0, running.s, sizeof(Real) == 8);
        Real factor = log_of(total.w, total.s.total(), Real());
        if (output == SOFTMAX)
            factor = m == Real(infinity()) ? Real(nan())
                                           : reciprocal_of(total.w + total.s.total(), Real());
        const Cut16<Element> next(call, row + gridDim.x);
        Bits *y = (Bits *)call.y + row * length;
        Piece *to = (Piece *)(y - cut.before) + thread;
        const int most = cut.pieces > next.pieces ? cut.pieces : next.pieces;
#pragma unroll 1
        for (int g = 0; g * GROUP * SIZE < most; ++g) {
#pragma unroll
            for (int k = 0; k < GROUP; ++k) {
                const int i = (g * GROUP + k) * SIZE, start = (i + thread) * N - cut.before;
                if (i + thread < cut.pieces) {
                    Real v[N];
                    unpack<Element>(v, own[i]);
#pragma unroll
                    for (int h = 0; h < N; ++h)
                        v[h] = output == SOFTMAX ? exponential(v[h] - m) * factor
                                                 : (v[h] - m) - factor;
                    if (start >= 0 && start + N <= length) {
                        store_piece(to + i, packed<Element>(v));
                    } else {
#pragma unroll
                        for (int h = 0; h < N; ++h)
                            if (start + h >= 0 && start + h < length)
                                y[start + h] = Element::encode(v[h]);
                    }
                }
                if (i + thread < next.pieces) bring(own + i, next.from + i);
            }
            end_group();
        }
        cut = next;
    }
}

#define STAGED(name, Element, output, SIZE, BLOCKS)                                    \
    extern "C" __global__ void __launch_bounds__(SIZE, BLOCKS)                         \
        name(const __grid_constant__ Rows call)                                        \
    {                                                                                  \
        staged_rows<Element, output, SIZE>(call);                                      \
    }
