// The arithmetic of exact sums: exponentials relative to anchors, their sums in floats without
// rounding, and the integers that these go to, with the bits of the CPU's (`_algebra/exact.py`).
//
// Compiled without contraction: nothing is fused but what is written down as `fma`.

enum { LIMBS = 5, RADIX = 43, HELD = 3, CLASSES = 2, AT_ONCE = 256 };
enum { TOP_AT = 1, ANCHORS_AT = TOP_AT + LIMBS, REST_AT = ANCHORS_AT + CLASSES };
enum { WORDS = REST_AT + CLASSES * LIMBS };  // of a record, after m; the first is w

const long long OF_LIMB = (1LL << RADIX) - 1;

// Exponentials are multiplied by this, so that those that are subnormal keep their digits.
template <typename Real> constexpr double SCALE = sizeof(Real) == 4 ? 0x1p24 : 0x1p64;

// exp(t) times SCALE for t <= HIGH, by the operations of `cpu/exp.py` and no others.
template <typename Real> constexpr Real HIGH = sizeof(Real) == 4 ? 70 : 661;

__device__ __forceinline__ float scaled_exp(float t)
{
    const float ROUND = 0x1.8p23f;  // leaves n in the low bits of the sum
    const float shifted = fmaf(t, 1.44269504f, ROUND), n = shifted - ROUND;
    const float r = fmaf(n, 2.1219444e-4f, fmaf(n, -0.693359375f, t)), r2 = r * r;
    const float high = fmaf(r2, 0.001381455f, fmaf(0.008368745f, r, 0.04166839f));
    const float q = fmaf(r2, fmaf(r2, high, fmaf(0.16666521f, r, 0.49999994f)), r);
    const float power = __uint_as_float((__float_as_uint(shifted) << 23) + ((127u + 24) << 23));
    const float e = fmaf(q, power, power);
    return t < -103.98f ? 0 : e;
}

__device__ __forceinline__ double scaled_exp(double t)
{
    const double ROUND = 0x1.8p52;
    const double shifted = fma(t, 1.4426950408889634, ROUND), n = shifted - ROUND;
    const double r = fma(n, -1.90821492927058770002e-10, fma(n, -6.93147180369123816490e-01, t));
    const double r2 = r * r, r4 = r2 * r2;
    const double low = fma(fma(0.16666666666666674, r, 0.500000000000001), r2, r);
    const double middle = fma(
        fma(0.00019841269886699926, r, 0.0013888888947962543), r2,
        fma(0.008333333333322172, r, 0.041666666666521524)
    );
    const double high = fma(
        fma(2.511009630403349e-08, r, 2.7632716110097873e-07), r2,
        fma(2.755724221351069e-06, r, 2.4801487165838708e-05)
    );
    const double q = fma(fma(high, r4, middle), r4, low);
    const double power = __longlong_as_double(
        (long long)(((unsigned long long)__double_as_longlong(shifted) << 52) + ((1023ULL + 64) << 52))
    );
    const double e = fma(q, power, power);
    return t < -745.14 ? 0 : e;
}

// The multiple of 64 that is nearest to a finite number, the larger one of two.
__device__ __forceinline__ double anchor_of(double x)
{
    const double below = 64 * floor(x / 64);
    return x - below >= 32 ? below + 64 : below + 0.0;  // and not -0
}

// The smallest number of a class.
template <typename Real> __device__ __forceinline__ Real first_of(double anchor)
{
    const Real first = Real(anchor - 32);
    return anchor - double(first) > 32 ? Real(anchor) : first;  // where it is not representable
}

// Sums of up to AT_ONCE exponentials of a class, which Fast2Sum splits by the units of limbs:
// `cpu/exact_steps.py` has the argument.
template <typename Real> struct Split {
    static const bool narrow = sizeof(Real) == 4;  // the last sum needs no unit, and is exact
    double s3, s2, s1, s0;                         // of each limb

    __device__ __forceinline__ Split() : s3(seed3()), s2(seed2()), s1(seed1()), s0(0) {}

    static __device__ __forceinline__ double seed3() { return 0x1.8p57 * SCALE<Real>; }
    static __device__ __forceinline__ double seed2() { return 0x1.8p14 * SCALE<Real>; }
    static __device__ __forceinline__ double seed1() { return narrow ? 0 : 0x1.8p-29 * SCALE<Real>; }

    // What the sum is rounded by.
    static __device__ __forceinline__ double rest(double &sum, double term)
    {
        const double before = sum;
        sum += term;
        return term - (sum - before);
    }

    __device__ __forceinline__ void add(double e)
    {
        e = rest(s2, rest(s3, e));
        if (narrow)
            s1 += e;
        else
            s0 += rest(s1, e);
    }

    // The integer for a limb.
    __device__ __forceinline__ long long limb(int j) const
    {
        return j == 3   ? (long long)((s3 - seed3()) * (0x1p-5 / SCALE<Real>))
               : j == 2 ? (long long)((s2 - seed2()) * (0x1p38 / SCALE<Real>))
               : j == 1 ? (long long)((s1 - seed1()) * (0x1p81 / SCALE<Real>))
               : j == 0 ? (long long)(s0 * (0x1p124 / SCALE<Real>))
                        : 0;
    }
};

// Have all limbs but the highest be numbers from 0 up to 2^RADIX.
__device__ __forceinline__ void carry(long long (&limbs)[LIMBS])
{
#pragma unroll
    for (int j = 0; j + 1 < LIMBS; ++j) {
        limbs[j + 1] += limbs[j] >> RADIX;
        limbs[j] &= OF_LIMB;
    }
}

// So many times a scaled exponential: whole limbs of it, and products of 128 bits.
template <typename Real>
__device__ __forceinline__ void multiply(long long (&to)[LIMBS], double value, long long times)
{
    double unit = 0x1p5 * SCALE<Real>;
#pragma unroll
    for (int j = 0; j < LIMBS; ++j) to[j] = 0;
#pragma unroll
    for (int j = 3; j >= 0; --j, unit *= 0x1p-43) {
        const unsigned long long q = (unsigned long long)(value / unit);
        value -= double(q) * unit;
        const unsigned long long low = q * times, high = __umul64hi(q, times);
        to[j] += (long long)(low & OF_LIMB);
        to[j + 1] += (long long)(low >> RADIX | high << (64 - RADIX));
    }
    carry(to);
}

// The sums of the highest classes of a thread, from the highest down.
struct Held {
    long long *limbs;  // of class k those at (k * LIMBS + j) * THREADS
    double *anchors;   // those at k * THREADS
    int deposits;

    __device__ __forceinline__ Held(long long *limbs, double *anchors)
        : limbs(limbs), anchors(anchors), deposits(0)
    {
#pragma unroll
        for (int k = 0; k < HELD; ++k) anchors[k * THREADS] = -infinity();
    }

    // Where a class is held, which may be new, or -1 if it does not count.
    __device__ __forceinline__ int place_of(double anchor)
    {
#pragma unroll 1
        for (int k = 0; k < HELD; ++k) {
            if (anchor == anchors[k * THREADS]) return k;
            if (!(anchor > anchors[k * THREADS])) continue;
#pragma unroll 1
            for (int i = HELD - 1; i > k; --i) anchors[i * THREADS] = anchors[(i - 1) * THREADS];
#pragma unroll 1
            for (int i = HELD * LIMBS - 1; i >= k * LIMBS; --i)
                limbs[i * THREADS] = i < (k + 1) * LIMBS ? 0 : limbs[(i - LIMBS) * THREADS];
            anchors[k * THREADS] = anchor;
            return k;
        }
        return -1;
    }

    // Add what `of` gives for each limb: less than 2^52 or, for the highest, what there is.
    template <typename Limb> __device__ __forceinline__ void add(int k, Limb of)
    {
#pragma unroll
        for (int j = 0; j < LIMBS; ++j) limbs[(k * LIMBS + j) * THREADS] += of(j);
        if (++deposits % 1024 == 0) normalise();
    }

    __device__ __forceinline__ void normalise()
    {
#pragma unroll 1
        for (int i = 0; i < HELD * LIMBS; ++i) {
            if (i % LIMBS == LIMBS - 1) continue;
            limbs[(i + 1) * THREADS] += limbs[i * THREADS] >> RADIX;
            limbs[i * THREADS] &= OF_LIMB;
        }
    }
};
