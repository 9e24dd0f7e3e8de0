// Elements of one dtype, which the kernel is compiled for: in pieces of 16 bytes where they are one
// after the other.

// How a run of elements is cut: single ones up to the first address of a piece, pieces, and single
// ones again.  A run whose results do not come to lie on pieces where its elements do has none.
template <typename Element> struct Cut {
    static const int ITEM = sizeof(typename Element::Bits);
    static const int PER_PIECE = sizeof(Piece) / ITEM;
    // Elements that a thread loads before it works on them: enough to wait for memory only once.
    static const int TILE = sizeof(typename Element::Real) == 4 ? 16 : 8;
    static const int AT_ONCE = PER_PIECE < TILE ? TILE / PER_PIECE : 1;

    long long head, pieces, tail;

    __device__ __forceinline__ Cut(const char *run, long long count, bool aligned = true)
    {
        long long before = (0 - (unsigned long long)run) % sizeof(Piece) / ITEM;
        head = aligned ? shortest(before, count) : count;
        pieces = (count - head) / PER_PIECE;
        tail = head + pieces * PER_PIECE;
    }
};

template <typename Element>
__device__ __forceinline__ void reduce_run(
    Running<typename Element::Real> &state, const Team &team, const char *run, long long count
)
{
    typedef typename Element::Real Real;
    const int PER_PIECE = Cut<Element>::PER_PIECE, AT_ONCE = Cut<Element>::AT_ONCE;
    const Cut<Element> cut(run, count);
    const Piece *pieces = (const Piece *)(run + cut.head * Cut<Element>::ITEM);
    long long i = team.member;
#pragma unroll 1
    for (; i + (AT_ONCE - 1) * team.size < cut.pieces; i += AT_ONCE * team.size) {
        Piece loaded[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) loaded[k] = pieces[i + k * team.size];
        Real tile[AT_ONCE * PER_PIECE];
#pragma unroll
        for (int k = 0; k < AT_ONCE * PER_PIECE; ++k)
            tile[k] = Element::decode(
                taken<typename Element::Bits>(loaded[k / PER_PIECE], k % PER_PIECE)
            );
        state.add(tile);
    }
#pragma unroll 1
    for (; i < cut.pieces; i += team.size) {
        Piece loaded = pieces[i];
        Real tile[PER_PIECE];
#pragma unroll
        for (int k = 0; k < PER_PIECE; ++k)
            tile[k] = Element::decode(taken<typename Element::Bits>(loaded, k));
        state.add(tile);
    }
    // The single elements at both ends, as if they were one after the other.
    long long ends = cut.head + (count - cut.tail), skipped = cut.tail - cut.head;
#pragma unroll 1
    for (i = team.member; i < ends; i += team.size) {
        long long index = i < cut.head ? i : i + skipped;
        Real one[1] = {load<Element>(run + index * Cut<Element>::ITEM)};
        state.add(one);
    }
}

template <typename Element, typename Way>
__device__ __forceinline__ void apply_piece(const Way &map, const Piece &loaded, Piece *results)
{
    typedef typename Element::Result Result;
    const int PER_RESULT = sizeof(Piece) / sizeof(typename Result::Bits);
#pragma unroll
    for (int r = 0; r < Cut<Element>::PER_PIECE / PER_RESULT; ++r) {
        Piece ready = {{0, 0, 0, 0}};
#pragma unroll
        for (int i = 0; i < PER_RESULT; ++i) {
            typename Element::Bits bits = taken<typename Element::Bits>(loaded, r * PER_RESULT + i);
            put(ready, i, Result::encode(map(Element::decode(bits))));
        }
        results[r] = ready;
    }
}

template <typename Element, typename Way>
__device__ __forceinline__ void apply_run(
    const Way &map, const Team &team, const char *run, char *result, long long count
)
{
    typedef typename Element::Result Result;
    typedef typename Result::Bits ResultBits;
    const int ITEM = Cut<Element>::ITEM, RESULT = sizeof(ResultBits);
    const int AT_ONCE = Cut<Element>::AT_ONCE;
    const int RESULTS = Cut<Element>::PER_PIECE * RESULT / sizeof(Piece);  // of one piece
    unsigned long long before = (0 - (unsigned long long)run) % sizeof(Piece) / ITEM;
    bool aligned = ((unsigned long long)result + before * RESULT) % sizeof(Piece) == 0;
    const Cut<Element> cut(run, count, aligned);
    const Piece *pieces = (const Piece *)(run + cut.head * ITEM);
    Piece *results = (Piece *)(result + cut.head * RESULT);
    long long i = team.member;
#pragma unroll 1
    for (; i + (AT_ONCE - 1) * team.size < cut.pieces; i += AT_ONCE * team.size) {
        Piece loaded[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) loaded[k] = pieces[i + k * team.size];
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k)
            apply_piece<Element>(map, loaded[k], results + (i + k * team.size) * RESULTS);
    }
#pragma unroll 1
    for (; i < cut.pieces; i += team.size)
        apply_piece<Element>(map, pieces[i], results + i * RESULTS);
    long long ends = cut.head + (count - cut.tail), skipped = cut.tail - cut.head;
#pragma unroll 1
    for (i = team.member; i < ends; i += team.size) {
        long long index = i < cut.head ? i : i + skipped;
        ((ResultBits *)result)[index] = Result::encode(map(load<Element>(run + index * ITEM)));
    }
}
