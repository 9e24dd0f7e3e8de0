// What the lanes of a warp do together, and what a lane does without a branch: for kernels of
// contiguous blocks, where each element has a few instructions to spend.

const unsigned ALL_LANES = 0xffffffffu;
const int WARP = 32;

// What kernels of contiguous blocks give: a state, or a result of it in the same launch.
enum { STATE = 0, SOFTMAX = 1, LOG_SOFTMAX = 2, LOGSUMEXP = 3 };

// The larger of two numbers, or NaN.
#ifdef __CUDA_ARCH__
__device__ __forceinline__ float top_of(float a, float b)
{
#if __CUDA_ARCH__ >= 800
    float top;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(top) : "f"(a), "f"(b));
    return top;
#else
    return a != a ? a : b != b ? b : fmaxf(a, b);
#endif
}

// exp(t) for results of half precision: within |t| + 2 units of float in the last place.  Float16 has
// nothing that is as small as what is flushed to zero.
template <typename Element> __device__ __forceinline__ float coarse_exponential(float t)
{
    float e;
    if (Element::SMALLEST > 1e-30f)
        asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(t * 1.44269504f));
    else
        asm("ex2.approx.f32 %0, %1;" : "=f"(e) : "f"(t * 1.44269504f));
    return e;
}

// Memory that is read or written once need not stay in a cache.
__device__ __forceinline__ Piece load_piece(const Piece *from)
{
    Piece p;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(p.word[0]), "=r"(p.word[1]), "=r"(p.word[2]), "=r"(p.word[3])
                 : "l"(from));
    return p;
}

// The same of what neighbours read again.
__device__ __forceinline__ Piece read_piece(const Piece *from)
{
    Piece p;
    asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(p.word[0]), "=r"(p.word[1]), "=r"(p.word[2]), "=r"(p.word[3])
                 : "l"(from));
    return p;
}

__device__ __forceinline__ void store_piece(Piece *to, const Piece &p)
{
    asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(p.word[0]),
                 "r"(p.word[1]), "r"(p.word[2]), "r"(p.word[3])
                 : "memory");
}

// 1 / d to half a unit in the last place of a float, and a little.
__device__ __forceinline__ float reciprocal(double d)
{
    float near;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(near) : "f"(float(d)));
    return float(fma(double(near), fma(-d, double(near), 1.0), double(near)));
}
#else
inline float top_of(float a, float b) { return a > b || a != a ? a : b; }

template <typename Element> inline float coarse_exponential(float t) { return expf(t); }

inline Piece load_piece(const Piece *from) { return *aligned(from); }
inline Piece read_piece(const Piece *from) { return *aligned(from); }
inline void store_piece(Piece *to, const Piece &p) { *aligned(to) = p; }
inline float reciprocal(double d) { return float(1 / d); }
#endif
__device__ __forceinline__ double top_of(double a, double b) { return a > b || a != a ? a : b; }
__device__ __forceinline__ double reciprocal_of(double d, double) { return 1 / d; }
__device__ __forceinline__ float reciprocal_of(double d, float) { return reciprocal(d); }

template <int N, typename Real> __device__ __forceinline__ Real top_of(const Real *x)
{
    if constexpr (N == 1)
        return *x;
    else
        return top_of(top_of<N / 2>(x), top_of<N - N / 2>(x + N / 2));
}

// What the lanes of a team of TEAM threads, some of a warp or all of it, have together.
template <int TEAM, typename Real> __device__ __forceinline__ Real team_top(Real x)
{
#pragma unroll
    for (int hop = TEAM / 2; hop > 0; hop /= 2)
        x = top_of(x, __shfl_xor_sync(ALL_LANES, x, hop));
    return x;
}

template <int TEAM, typename Number> __device__ __forceinline__ Number team_sum(Number x)
{
#pragma unroll
    for (int hop = TEAM / 2; hop > 0; hop /= 2) x += __shfl_xor_sync(ALL_LANES, x, hop);
    return x;
}

template <int TEAM> __device__ __forceinline__ Sum team_sum(Sum x)
{
#pragma unroll
    for (int hop = TEAM / 2; hop > 0; hop /= 2)
        x.add(
            Sum(__shfl_xor_sync(ALL_LANES, x.value, hop), __shfl_xor_sync(ALL_LANES, x.error, hop))
        );
    return x;
}

// The elements of a piece as numbers, and back.
template <typename Element>
__device__ __forceinline__ void unpack(typename Element::Real *to, const Piece &piece)
{
#pragma unroll
    for (int k = 0; k < int(sizeof(Piece) / sizeof(typename Element::Bits)); ++k)
        to[k] = Element::decode(taken<typename Element::Bits>(piece, k));
}

template <typename Element>
__device__ __forceinline__ Piece packed(const typename Element::Real *from)
{
    Piece piece = {{0, 0, 0, 0}};
#pragma unroll
    for (int k = 0; k < int(sizeof(Piece) / sizeof(typename Element::Bits)); ++k)
        put(piece, k, Element::encode(from[k]));
    return piece;
}
