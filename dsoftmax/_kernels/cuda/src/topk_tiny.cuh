// Softmax and top-k of rows of few elements, one after the other, whose number is known when the
// kernel is compiled, and so is k: a lane takes a whole row from shared memory, as in tiny.cuh.
//
// The best elements of groups of four give a limit that at least k elements reach; what reaches it
// is noted in a word for each 32 elements, and sorted into the k best one after the other.  That has
// an end for any data, if nearly all of a row has to be looked at.

// K unsigned numbers, the largest first, and where they were.
template <typename Order, int K> struct Best {
    Order order[K];
    int index[K];

    __device__ __forceinline__ Best()
    {
#pragma unroll
        for (int j = 0; j < K; ++j) order[j] = 0, index[j] = 0;
    }

    // One that comes after all others, and so behind those that are equal.
    __device__ __forceinline__ void add(Order one, int at)
    {
        bool beyond[K];
#pragma unroll
        for (int j = 0; j < K; ++j) beyond[j] = one > order[j];
#pragma unroll
        for (int j = K - 1; j > 0; --j) {
            index[j] = beyond[j - 1] ? index[j - 1] : beyond[j] ? at : index[j];
            order[j] = beyond[j - 1] ? order[j - 1] : beyond[j] ? one : order[j];
        }
        index[0] = beyond[0] ? at : index[0];
        order[0] = beyond[0] ? one : order[0];
    }
};

template <typename Element, bool probabilities, int length, int K, int SIZE>
__device__ __forceinline__ void topk_tiny(const TopK &call)
{
    typedef typename Element::Real Real;
    typedef typename Element::Bits Bits;
    typedef RowOf<Bits, length> Own;
    typedef typename Ordered<Real>::Type Order;
    const int WORDS = (length + 31) / 32;
    const int GROUP = length >= 4 * K ? 4 : length >= 2 * K ? 2 : 1;
    const int RESULTS = WARP * K * (sizeof(long long) + sizeof(Bits)), ROWS = WARP * Own::BYTES;
    __shared__ Piece space[SIZE / WARP][(RESULTS > ROWS ? RESULTS : ROWS) / sizeof(Piece)];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const long long start = ((long long)blockIdx.x * (SIZE / WARP) + warp) * WARP;
    if (start >= call.rows) return;
    const int count = int(shortest(call.rows - start, WARP));
    char *const own = (char *)space[warp];
    const Bits *x = (const Bits *)call.x + start * length;
    const RowsOfWarp<Bits, length, WARP> tile(own, count, (unsigned long long)x);
    tile.load(x, lane);
    __syncwarp();
    Own row;
    row.get(own, lane);
    Real v[length];
#pragma unroll
    for (int i = 0; i < length; ++i) v[i] = Element::decode(row.element[i]);

    Real m = v[0], tops[K];  // of groups, the largest first; NaN is not among them, but moves others
#pragma unroll
    for (int j = 0; j < K; ++j) tops[j] = Real(-infinity());
#pragma unroll
    for (int i = 0; i < length; i += GROUP) {
        Real top = v[i];
#pragma unroll
        for (int g = 1; g < GROUP; ++g)
            if (i + g < length) top = top_of(top, v[i + g]);
        m = top_of(m, top);
#pragma unroll
        for (int j = K - 1; j > 0; --j) tops[j] = larger(tops[j], smaller(tops[j - 1], top));
        tops[0] = larger(tops[0], top);
    }
    unsigned passing[WORDS] = {};
#pragma unroll
    for (int i = 0; i < length; ++i)
        passing[i / 32] |= !(v[i] < tops[K - 1]) ? 1u << i % 32 : 0;

    State<Real> state = {m, 0, 0, 0, 0};
    if (call.normalized()) {
        float at_maximum = 0;
        const double s = Adding<Element, probabilities ? SOFTMAX : STATE>::template sum<length>(
            v, m, at_maximum
        );
        state = state_of(m, Total{at_maximum, Sum(s, 0)}, length);  // or s is all of d
        if (!probabilities && call.m && lane < count) call.put(start + lane, state);
    }

    Best<Order, K> best;
#pragma unroll 1
    for (;;) {
        int at = -1;
#pragma unroll
        for (int word = 0; word < WORDS; ++word)
            if (at < 0 && passing[word]) {
                at = word * 32 + __ffs(int(passing[word])) - 1;
                passing[word] &= passing[word] - 1;
            }
        if (at < 0) break;
        best.add(ordered(Element::decode(*Own::at(own, lane, at)), ~Order(0)), at);
    }
    Bits chosen[K];
    const Map<Real> map(m, state.s, false);
#pragma unroll
    for (int j = 0; j < K; ++j) {
        chosen[j] = *Own::at(own, lane, best.index[j]);
        if (probabilities) chosen[j] = Element::encode(map(Element::decode(chosen[j])));
    }
    __syncwarp();
    long long *const indices = (long long *)own;
    Bits *const values = (Bits *)(indices + WARP * K);
#pragma unroll
    for (int j = 0; j < K; ++j) {
        indices[lane * K + j] = best.index[j];
        values[lane * K + j] = chosen[j];
    }
    __syncwarp();
#pragma unroll
    for (int j = 0; j < K; ++j) {
        const int i = j * WARP + lane;
        if (i >= count * K) return;
        call.indices[start * K + i] = indices[i];
        ((Bits *)call.values)[start * K + i] = values[i];
    }
}

#define TOPK_TINY(name, Element, probabilities, length, K, SIZE, BLOCKS)               \
    extern "C" __global__ void __launch_bounds__(SIZE, BLOCKS)                         \
        name(const __grid_constant__ TopK call)                                        \
    {                                                                                  \
        topk_tiny<Element, probabilities, length, K, SIZE>(call);                      \
    }
