// Which elements are the best, and the state of a normalizer, both by the threads of a warp: what
// the kernels for short rows and for long ones have in common.
//
// Best first is one order: by the numbers of `ordered`, the largest first, and where these are
// equal by ascending index.  They have NaN first, and 0 and -0 equal.  For the smallest elements
// signs are turned as elements are loaded, and NaN is last.

template <typename Real> struct Ordered;
template <> struct Ordered<float> {
    typedef unsigned int Type;
    static const Type SIGN = 1u << 31;
    static __device__ __forceinline__ Type bits(float x) { return __float_as_uint(x); }
    static __device__ __forceinline__ float number(Type bits) { return __uint_as_float(bits); }
    static __device__ __forceinline__ float inverse(Type order)
    {
        return number(order & SIGN ? order ^ SIGN : ~order);
    }
};
template <> struct Ordered<double> {
    typedef unsigned long long Type;
    static const Type SIGN = 1ull << 63;
    static __device__ __forceinline__ Type bits(double x) { return __double_as_longlong(x); }
    static __device__ __forceinline__ double number(Type bits)
    {
        return __longlong_as_double((long long)bits);
    }
    static __device__ __forceinline__ double inverse(Type order)
    {
        return number(order & SIGN ? order ^ SIGN : ~order);
    }
};

// An unsigned number for each element; 0 is for what is none.
template <typename Real>
__device__ __forceinline__ typename Ordered<Real>::Type ordered(
    Real x, typename Ordered<Real>::Type of_nan
)
{
    typedef Ordered<Real> O;
    const typename O::Type bits = O::bits(x + Real(0));  // -0 is 0
    return x != x ? of_nan : bits & O::SIGN ? ~bits : bits | O::SIGN;
}

// What is told, for both kernels.  All fields have eight bytes.
struct TopK {
    const char *x;
    char *values;  // of x, or what becomes of them; rows of k
    long long *indices;
    void *m;  // the state of each row, or no address if it is not asked for
    double *w, *s;
    char *part_orders;  // of each row, and of each rank of its parts side by side
    long long *part_indices;
    double *part_m, *part_w, *part_s;
    long long probabilities;         // whether these are given in the place of values
    long long rows, length, stride;  // from row to row in bytes
    long long k, parts, portion;     // of a row, as long as a part at most
    long long smallest;

    template <typename Real> __device__ __forceinline__ Real turned(Real x) const
    {
        typedef Ordered<Real> O;
        return O::number(O::bits(x) ^ (smallest ? O::SIGN : 0));
    }

    // What stands for none among elements: -inf, once it is turned.
    template <typename Element> __device__ __forceinline__ typename Element::Bits none() const
    {
        return Element::encode(typename Element::Real(smallest ? infinity() : -infinity()));
    }

    template <typename Real> __device__ __forceinline__ typename Ordered<Real>::Type of_nan() const
    {
        return smallest ? 1 : ~typename Ordered<Real>::Type(0);
    }

    // The element of a rank, as it is in memory, or its probability.
    template <typename Element, typename Real>
    __device__ __forceinline__ void put(
        long long row, long long rank, long long index, const State<Real> &state
    ) const
    {
        typedef typename Element::Bits Bits;
        Bits one = ((const Bits *)(x + row * stride))[index];
        if (probabilities) {
            const Map<Real> map(state.m, state.w + state.s, false);
            one = Element::encode(map(Element::decode(one)));
        }
        ((Bits *)values)[row * k + rank] = one;
        indices[row * k + rank] = index;
    }

    __device__ __forceinline__ bool normalized() const { return m || probabilities; }

    template <typename Real>
    __device__ __forceinline__ void put(long long row, const State<Real> &state) const
    {
        if (!m) return;
        ((Real *)m)[row] = state.m;
        w[row] = state.w;
        s[row] = state.s;
    }
};

// A run of elements that threads load in pieces, with neighbours side by side, and which element an
// index of a tile is, counted from where the run begins.
template <typename Element, int HOP> struct Pieces {
    typedef typename Element::Bits Bits;
    static const int N = sizeof(Piece) / sizeof(Bits);

    const char *base;  // of the first piece, some elements of which may be before the run
    int before, length;

    __device__ __forceinline__ Pieces(const char *run, int length) : length(length)
    {
        const int bytes = (unsigned long long)run % sizeof(Piece);
        base = run - bytes;
        before = bytes / int(sizeof(Bits));
    }

    __device__ __forceinline__ int count() const { return (before + length + N - 1) / N; }

    // Element i of those that a thread has of the tile that begins with a piece.
    __device__ __forceinline__ int index(int piece, int thread, int i) const
    {
        return (piece + i / N * HOP + thread) * N + i % N - before;
    }

    __device__ __forceinline__ bool has(int index) const { return index >= 0 && index < length; }

    __device__ __forceinline__ Piece whole(int piece) const { return ((const Piece *)base)[piece]; }

    // A piece that may be over an end: what is not in is not read.
    __device__ __forceinline__ Piece any(int piece, Bits none) const
    {
        const int first = piece * N - before;
        if (has(first) && has(first + N - 1)) return whole(piece);
        Piece loaded = {{0, 0, 0, 0}};
#pragma unroll
        for (int i = 0; i < N; ++i)
            ::put(loaded, i, has(first + i) ? ((const Bits *)base)[piece * N + i] : none);
        return loaded;
    }
};

// The state of what the threads of a team of a warp have met, who agree on m and the reference: so
// that all of them branch alike, and almost never, for exponentials one after the other.
template <typename Real, int TEAM> struct Agreed : Running<Real> {
    using Running<Real>::add;

    static __device__ __forceinline__ Real largest(Real x)
    {
#pragma unroll
        for (int half = TEAM / 2; half > 0; half /= 2)
            x = larger(x, __shfl_xor_sync(ALL_LANES, x, half));
        return x;
    }

    // N elements, the largest of which is top.  -inf may stand for none.
    template <int N> __device__ __forceinline__ void add(const Real (&x)[N], Real top)
    {
        double terms[N];
        if (__any_sync(ALL_LANES, !(top < this->m))) {
            top = largest(top);
            if (top > this->m) this->rise(top);
            float at_maximum = 0;
#pragma unroll
            for (int i = 0; i < N; ++i)
                terms[i] = take(exponential(x[i] - this->reference), x[i], this->m, at_maximum);
            this->w.value += at_maximum;  // exact
        } else {
#pragma unroll
            for (int i = 0; i < N; ++i) terms[i] = double(exponential(x[i] - this->reference));
        }
        this->s.add(pairwise<N>(terms));
    }

    // The state of as many elements, of which a thread of the team has so many.
    __device__ __forceinline__ State<Real> united(long long count) const
    {
        Running<Real> whole = *this;
        whole.w = Sum(team_sum<TEAM>(this->w.value), 0);
        whole.s = team_sum<TEAM>(this->s);
        whole.move(this->m);
        return counted(whole.state(), count);
    }

    // What stood for none is not to count where all is -inf.
    static __device__ __forceinline__ State<Real> counted(State<Real> state, long long count)
    {
        if (state.m == Real(-infinity())) state.w = double(count);
        return state;
    }
};
