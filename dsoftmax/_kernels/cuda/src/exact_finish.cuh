// From exact states to the numbers that they stand for, by the operations of `cpu/exact_finish.py`:
// in pairs of doubles, whose sum has 100 digits of 2 and more, and without any fused multiply-add.

struct Pair {
    double high, low;
};

__device__ __forceinline__ Pair renormalised(double a, double b)
{
    const double sum = a + b;
    return {sum, b - (sum - a)};
}

__device__ __forceinline__ Pair operator+(const Pair &a, const Pair &b)
{
    const double total = a.high + b.high, virtual_b = total - a.high;
    const double low = ((a.high - (total - virtual_b)) + (b.high - virtual_b)) + (a.low + b.low);
    return renormalised(total, low);
}

__device__ __forceinline__ Pair operator*(const Pair &a, const Pair &b)
{
    const double SPLIT = 0x1p27 + 1;
    const double p = a.high * b.high, t = a.high * SPLIT, u = b.high * SPLIT;
    const double a1 = t - (t - a.high), b1 = u - (u - b.high);
    const double a2 = a.high - a1, b2 = b.high - b1;
    double low = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2;
    low += a.high * b.low + a.low * b.high;
    return renormalised(p, low);
}

__device__ __forceinline__ Pair operator/(const Pair &a, const Pair &b)
{
    const double q = a.high / b.high;
    const Pair p = Pair{q, 0} * b, rest = a + Pair{-p.high, -p.low};
    return renormalised(q, (rest.high + rest.low) / b.high);
}

constexpr double LOG_2 = 0.6931471805599453, LOG_2_LOW = 2.3190468138462996e-17;

// exp(x) without the factor 2^n.
__device__ __forceinline__ Pair exp_of(const Pair &x, long long &n)
{
    const double ROUND = 0x1.8p52, times = (x.high / LOG_2 + ROUND) - ROUND;
    const Pair p = Pair{times, 0} * Pair{LOG_2, LOG_2_LOW};
    const Pair r = x + Pair{-p.high, -p.low};
    Pair e = {1, 0};
#pragma unroll 1
    for (int k = 21; k > 8; --k) e.high = 1 + e.high * r.high / k;  // the first digits are enough
#pragma unroll 1
    for (int k = 8; k > 0; --k) e = e * r / Pair{double(k), 0} + Pair{1, 0};
    n = (long long)times;
    return e;
}

// The logarithm of a positive number that is finite and not subnormal.
__device__ __forceinline__ Pair log_of_pair(double x)
{
    const long long bits = __double_as_longlong(x);
    long long k = (bits >> 52) - 1023;
    double y = __longlong_as_double(bits - (k << 52));
    if (y > 1.4142135623730951) {
        y *= 0.5;
        ++k;
    }
    const double high = y + 1;
    const Pair z = Pair{y - 1, 0} / Pair{high, y - (high - 1)}, z2 = z * z;
    Pair value = {0, 0};
#pragma unroll 1
    for (int j = 17; j > 8; --j) value.high = 2.0 / (2 * j + 1) + z2.high * value.high;
#pragma unroll 1
    for (int j = 8; j >= 0; --j) value = value * z2 + Pair{2, 0} / Pair{double(2 * j + 1), 0};
    return Pair{double(k), 0} * Pair{LOG_2, LOG_2_LOW} + value * z;
}

// x 2^n in two steps, so that neither overflows.
__device__ __forceinline__ double times_power(double x, long long n)
{
    const long long half = n >> 1;
    return x * __longlong_as_double((half + 1023) << 52)
           * __longlong_as_double((n - half + 1023) << 52);
}

struct ExactFinish {
    double *w, *s, *log_d, *log_sum;
    long long size;
    Words from;
};

template <typename Real> __device__ __forceinline__ void exact_finish(const ExactFinish &call)
{
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
    if (i >= call.size) return;
    const double m = double(((const Real *)call.from.m)[i]), w = double(call.from.word[0][i]);
    Pair rest = {0, 0};
#pragma unroll 1
    for (int k = 0; k < CLASSES; ++k) {
        const double anchor = __longlong_as_double(call.from.word[ANCHORS_AT + k][i]);
        const double shift = anchor - m;
        if (!(shift > -1100)) continue;  // exp of that times any sum is 0
        const double virtual_m = shift - anchor;
        const Pair whole = {shift, (anchor - (shift - virtual_m)) - (m + virtual_m)};
        Pair sum = {0, 0};
        double unit = 0x1p48;
#pragma unroll 1
        for (int j = LIMBS - 1; j >= 0; --j, unit *= 0x1p-43)
            sum = sum + Pair{double(call.from.word[REST_AT + k * LIMBS + j][i]) * unit, 0};
        long long n;
        const Pair e = exp_of(whole, n);
        sum = sum * e;
        rest = rest + Pair{times_power(sum.high, n), times_power(sum.low, n)};
    }
    if (m != m) rest.high = m;
    const Pair d = Pair{w, 0} + rest;
    Pair logarithm = {d.high == 0 ? -infinity() : d.high, 0};  // of nothing; or NaN
    if (d.high > 0) {
        const double ratio = d.low / d.high;
        logarithm = log_of_pair(d.high) + Pair{ratio - 0.5 * ratio * ratio, 0};
    }
    call.w[i] = w;
    call.s[i] = rest.high;
    call.log_d[i] = logarithm.high;
    call.log_sum[i] = fabs(m) == infinity() ? m : (Pair{m, 0} + logarithm).high;
}

#define EXACT_FINISH(name, Real)                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                 \
        name(const __grid_constant__ ExactFinish call)                                    \
    {                                                                                     \
        exact_finish<Real>(call);                                                         \
    }
