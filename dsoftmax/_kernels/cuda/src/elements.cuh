// The dtypes: from the bits of an element to a number, and back.
//
// Memory is read and written as unsigned integers, so that all dtypes share the vector accesses,
// and no header is needed: not every NVRTC comes with those of the half-precision types.

#ifdef __CUDA_ARCH__
__device__ __forceinline__ float of_half(unsigned short bits)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ __forceinline__ unsigned short to_half(float value)
{
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#else  // the same on a host, where tests run
inline float of_half(unsigned short bits)
{
    unsigned exponent_and_fraction = (bits & 0x7fffu) << 13;
    float value = __uint_as_float(exponent_and_fraction) * 0x1p112f;
    if ((bits & 0x7c00) == 0x7c00) value = __uint_as_float(exponent_and_fraction | 0x7f800000u);
    return bits & 0x8000 ? -value : value;
}

inline unsigned short to_half(float value)
{
    unsigned sign = (__float_as_uint(value) >> 16) & 0x8000u;
    unsigned bits = __float_as_uint(value) & 0x7fffffffu;
    if (bits > 0x7f800000u) return sign | 0x7fffu;
    if (bits >= 0x477ff000u) return sign | 0x7c00u;
    if (bits < 0x38800000u)  // subnormal: the addition rounds
        return sign | (__float_as_uint(__uint_as_float(bits) + 0.5f) - 0x3f000000u);
    return sign | ((bits - 0x38000000u + 0xfffu + ((bits >> 13) & 1)) >> 13);
}
#endif

struct Float32 {
    typedef unsigned int Bits;
    typedef float Real;
    typedef Float32 Result;
    static __device__ __forceinline__ Real decode(Bits bits) { return __uint_as_float(bits); }
    static __device__ __forceinline__ Bits encode(Real value) { return __float_as_uint(value); }
};

struct Float64 {
    typedef unsigned long long Bits;
    typedef double Real;
    typedef Float64 Result;
    static __device__ __forceinline__ Real decode(Bits bits)
    {
        return __longlong_as_double((long long)bits);
    }
    static __device__ __forceinline__ Bits encode(Real value)
    {
        return (Bits)__double_as_longlong(value);
    }
};

struct Float16 {
    static constexpr float SMALLEST = 0x1p-24f;
    typedef unsigned short Bits;
    typedef float Real;
    typedef Float16 Result;
    static __device__ __forceinline__ Real decode(Bits bits) { return of_half(bits); }
    static __device__ __forceinline__ Bits encode(Real value) { return to_half(value); }
};

struct BFloat16 {
    static constexpr float SMALLEST = 0x1p-133f;
    typedef unsigned short Bits;
    typedef float Real;
    typedef BFloat16 Result;
    static __device__ __forceinline__ Real decode(Bits bits)
    {
        return __uint_as_float((unsigned)bits << 16);
    }
    static __device__ __forceinline__ Bits encode(Real value)
    {
        unsigned bits = __float_as_uint(value);
        if (value != value) return Bits((bits >> 16) | 0x40);
        return Bits((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);  // to even
    }
};

template <typename Number, typename Unsigned> struct Integer {
    typedef Unsigned Bits;
    typedef double Real;
    typedef Float64 Result;
    static __device__ __forceinline__ Real decode(Bits bits) { return Real(Number(bits)); }
};

typedef Integer<bool, unsigned char> Bool;
typedef Integer<signed char, unsigned char> Int8;
typedef Integer<unsigned char, unsigned char> UInt8;
typedef Integer<short, unsigned short> Int16;
typedef Integer<unsigned short, unsigned short> UInt16;
typedef Integer<int, unsigned int> Int32;
typedef Integer<unsigned int, unsigned int> UInt32;
typedef Integer<long long, unsigned long long> Int64;
typedef Integer<unsigned long long, unsigned long long> UInt64;

template <typename Element>
__device__ __forceinline__ typename Element::Real load(const char *address)
{
    return Element::decode(*(const typename Element::Bits *)address);
}

// Elements of any dtype, which its number in this list names: one kernel for all, and one branch for
// as many loads as there are addresses.
template <typename Element, typename Real, int N>
__device__ __forceinline__ void load_all(Real (&to)[N], const char *const (&at)[N])
{
#pragma unroll
    for (int k = 0; k < N; ++k) to[k] = Real(load<Element>(at[k]));
}

template <typename Real, int N>
__device__ __forceinline__ void load_any(Real (&to)[N], const char *const (&at)[N], int dtype)
{
    switch (dtype) {
    case 0: return load_all<Float16>(to, at);
    case 1: return load_all<BFloat16>(to, at);
    case 2: return load_all<Float32>(to, at);
    case 3: return load_all<Float64>(to, at);
    case 4: return load_all<Bool>(to, at);
    case 5: return load_all<Int8>(to, at);
    case 6: return load_all<UInt8>(to, at);
    case 7: return load_all<Int16>(to, at);
    case 8: return load_all<UInt16>(to, at);
    case 9: return load_all<Int32>(to, at);
    case 10: return load_all<UInt32>(to, at);
    case 11: return load_all<Int64>(to, at);
    default: return load_all<UInt64>(to, at);
    }
}

template <typename Element>
__device__ __forceinline__ void store(char *address, typename Element::Real value)
{
    *(typename Element::Bits *)address = Element::encode(value);
}

// The result for an element of such a dtype, in the dtype that results have for it.
__device__ __forceinline__ void store_any(char *address, double value, int)
{
    store<Float64>(address, value);
}
__device__ __forceinline__ void store_any(char *address, float value, int dtype)
{
    switch (dtype) {
    case 0: return store<Float16>(address, value);
    case 1: return store<BFloat16>(address, value);
    default: return store<Float32>(address, value);
    }
}

// The largest piece of memory that one instruction of a thread accesses.
struct alignas(16) Piece {
    unsigned int word[4];
};

template <typename Bits> __device__ __forceinline__ Bits taken(const Piece &piece, int i);
template <>
__device__ __forceinline__ unsigned char taken<unsigned char>(const Piece &piece, int i)
{
    return (unsigned char)(piece.word[i / 4] >> (8 * (i % 4)));
}
template <>
__device__ __forceinline__ unsigned short taken<unsigned short>(const Piece &piece, int i)
{
    return (unsigned short)(piece.word[i / 2] >> (16 * (i % 2)));
}
template <> __device__ __forceinline__ unsigned int taken<unsigned int>(const Piece &piece, int i)
{
    return piece.word[i];
}
template <>
__device__ __forceinline__ unsigned long long taken<unsigned long long>(const Piece &piece, int i)
{
    return piece.word[2 * i] | (unsigned long long)piece.word[2 * i + 1] << 32;
}

// The other way, into a piece of zeros.
__device__ __forceinline__ void put(Piece &piece, int i, unsigned short bits)
{
    piece.word[i / 2] |= (unsigned)bits << (16 * (i % 2));
}
__device__ __forceinline__ void put(Piece &piece, int i, unsigned int bits)
{
    piece.word[i] = bits;
}
__device__ __forceinline__ void put(Piece &piece, int i, unsigned long long bits)
{
    piece.word[2 * i] = (unsigned)bits;
    piece.word[2 * i + 1] = (unsigned)(bits >> 32);
}
