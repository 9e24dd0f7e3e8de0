// Exact sums of exponentials: states with the bytes of the CPU's (`_algebra/exact.py`), and what
// comes of them.
//
// Elements that are nearest to one multiple of 64, the anchor, are a class.  Their exponentials
// relative to it are added in floats without rounding, up to 256 at a time, then as integers to the
// limbs of the class.  A thread holds the highest three classes that it has met, in shared memory:
// of the rest, without the maximum, two are wanted, and the first may have nothing but that.
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

// Where states go: word k of state i at words[k * pitch + i].
struct Records {
    void *m;
    long long *words;
    long long pitch;
};

// And where they come from: each word has an array.
struct Words {
    const void *m;
    const long long *word[WORDS];
};

// What a thread has met of a slice.
template <typename Real> struct Exactly {
    Real m, anchor, first;  // the maximum, and the class that it is of
    long long w;
    bool nan;
    int pending;  // how many are in `sum`, which is of the first class
    Split<Real> sum;
    Held held;
    long long at_top[LIMBS];  // of states alone, of which some may be of float32

    __device__ __forceinline__ Exactly(long long *limbs, double *anchors)
        : m(Real(-infinity())), anchor(m), first(m), w(0), nan(false), pending(0),
          held(limbs, anchors), at_top{}
    {
    }

    __device__ __forceinline__ void deposit(int place, const Split<Real> &split)
    {
        held.add(place, [&](int j) { return split.limb(j); });
    }

    __device__ __forceinline__ void flush()
    {
        if (pending > 0) deposit(0, sum);
        pending = 0;
        sum = Split<Real>();
    }

    __device__ __forceinline__ void rise(Real top)
    {
        m = top;
        w = 0;
        if (!(top < Real(infinity()))) return;
        const double place = anchor_of(double(top));
        if (!(place > anchor)) return;
        flush();
        held.place_of(place);
        anchor = Real(place);
        first = first_of<Real>(place);
    }

    // Elements, of which -inf stands for those that are not `in`.
    template <int N> __device__ __forceinline__ void add(const Real (&x)[N], const bool (&in)[N])
    {
        Real top = Real(-infinity()), low = Real(infinity());
#pragma unroll
        for (int k = 0; k < N; ++k) {
            top = larger(top, x[k]);
            low = smaller(low, x[k] == Real(-infinity()) ? Real(infinity()) : x[k]);
            nan |= x[k] != x[k];
        }
        if (top > m) rise(top);
        if (top == m) {
#pragma unroll
            for (int k = 0; k < N; ++k) w += x[k] == m && in[k];
        }
        if (!(top > Real(-infinity())) || !(m < Real(infinity()))) return;
        if (low < first) {
            add_by_class(x, top);
            return;
        }
#pragma unroll
        for (int k = 0; k < N; ++k) sum.add(scaled_exp(x[k] - anchor));
        pending += N;
        if (pending > AT_ONCE - N) flush();
    }

    // The same of several classes.
    template <int N> __device__ __forceinline__ void add_by_class(const Real (&x)[N], Real highest)
    {
        Real beyond = Real(infinity());
#pragma unroll 1
        while (highest > Real(-infinity())) {
            const double of = anchor_of(double(highest));
            const int place = held.place_of(of);
            if (place < 0) return;
            const Real origin = Real(of), from = first_of<Real>(of);
            Split<Real> split;
            highest = Real(-infinity());
#pragma unroll
            for (int k = 0; k < N; ++k) {
                const Real e = scaled_exp(x[k] - origin);
                split.add(x[k] >= from && x[k] < beyond ? e : Real(0));
                highest = larger(highest, x[k] < from ? x[k] : Real(-infinity()));
            }
            deposit(place, split);
            beyond = from;
        }
    }

    // What a state stands for.
    __device__ __forceinline__ void add(const Words &from, long long i)
    {
        const Real top = ((const Real *)from.m)[i];
        nan |= top != top;
        if (top > m) {
            m = top;
            w = 0;
#pragma unroll
            for (int j = 0; j < LIMBS; ++j) at_top[j] = 0;
        }
        if (top == m) {
            w += from.word[0][i];
#pragma unroll
            for (int j = 0; j < LIMBS; ++j) at_top[j] += from.word[TOP_AT + j][i];
        }
        if (fabs(double(top)) < infinity())
            add_class(from, i, anchor_of(double(top)), TOP_AT);
#pragma unroll 1
        for (int k = 0; k < CLASSES; ++k)
            add_class(
                from, i, __longlong_as_double(from.word[ANCHORS_AT + k][i]), REST_AT + k * LIMBS
            );
    }

    __device__ __forceinline__ void add_class(const Words &from, long long i, double of, int at)
    {
        const int place = of > -infinity() ? held.place_of(of) : -1;
        if (place >= 0) held.add(place, [&](int j) { return from.word[at + j][i]; });
    }

    // The state of what a team has met, by the first member of each that `writes`.
    template <bool of_states>
    __device__ __forceinline__ void
    give(const Team &team, bool writes, const Records &to, long long i)
    {
        flush();
        held.normalise();
        const bool is_nan = team.largest(nan) > 0;
        const Real top = Real(team.largest(double(m))) + Real(0);  // and not -0
        const long long count = team.sum(m == top ? w : 0);
        const bool finite = !is_nan && fabs(double(top)) < infinity();
        writes &= team.member == 0;
        long long *const words = to.words + i;
        if (writes) {
            ((Real *)to.m)[i] = is_nan ? Real(::nan()) : top;
            words[0] = is_nan ? 0 : count;
#pragma unroll 1
            for (int k = TOP_AT; k < WORDS; ++k)
                words[k * to.pitch] =
                    k < ANCHORS_AT || k >= REST_AT ? 0 : __double_as_longlong(-infinity());
        }
        int next = 0, place = 0;  // of the classes of this thread, and of the rest
#pragma unroll 1
        for (int k = 0; k < HELD; ++k) {
            const double own = finite && next < HELD ? held.anchors[next * THREADS] : -infinity();
            const double highest = team.largest(own);
            if (!__syncthreads_count(highest > -infinity())) return;
            const bool has = own == highest && own > -infinity();
            long long sums[LIMBS];
#pragma unroll
            for (int j = 0; j < LIMBS; ++j)
                sums[j] = team.sum(has ? held.limbs[(next * LIMBS + j) * THREADS] : 0);
            next += has;
            if (k == 0) {  // less what is at the maximum
                long long tops[LIMBS];
                if (of_states) {
#pragma unroll
                    for (int j = 0; j < LIMBS; ++j) tops[j] = team.sum(m == top ? at_top[j] : 0);
                    carry(tops);
                } else {
                    multiply<Real>(tops, finite ? scaled_exp(top - Real(highest)) : 0, count);
                }
#pragma unroll
                for (int j = 0; j < LIMBS; ++j) {
                    sums[j] -= tops[j];
                    if (writes && finite) words[(TOP_AT + j) * to.pitch] = tops[j];
                }
            }
            carry(sums);
            long long any = 0;
#pragma unroll
            for (int j = 0; j < LIMBS; ++j) any |= sums[j];
            if (any == 0) continue;  // there was nothing else, or is nothing left
            if (writes && place < CLASSES) {
                words[(ANCHORS_AT + place) * to.pitch] = __double_as_longlong(highest);
#pragma unroll
                for (int j = 0; j < LIMBS; ++j)
                    words[(REST_AT + place * LIMBS + j) * to.pitch] = sums[j];
            }
            ++place;
        }
    }
};

// From the element of a slice whose state is known to the result, as on the CPU.
template <typename Real> struct ExactMap {
    Real m, number;
    bool logarithm;

    __device__ __forceinline__ ExactMap(Real m, double d_or_log, bool logarithm, bool masked)
        : m(m), number(Real(logarithm ? d_or_log : 1 / d_or_log)), logarithm(logarithm)
    {
        // There is no softmax of an infinite maximum, nor of nothing.
        if (!logarithm && (m == Real(infinity()) || (!masked && d_or_log == 0)))
            number = Real(::nan());
    }

    __device__ __forceinline__ Real operator()(Real x) const
    {
        const Real t = x - m;
        if (logarithm) return t - number;
        const Real e = scaled_exp(t) * Real(1 / SCALE<Real>);
        return (t > HIGH<Real> ? Real(exp(double(t))) : e) * number;  // x is not of the slice
    }

    __device__ __forceinline__ Real of_nothing() const
    {
        return logarithm ? Real(-infinity()) : Real(0);
    }
};

// The elements of a part, all in the same code: whole tiles in a copy of their own would take the
// compiler twice as long.
template <typename Element, bool masked, bool single>
__device__ __forceinline__ void take(
    Exactly<typename Element::Real> &own, const Team &team, const Call &call, const Place &base,
    long long start, long long stop
)
{
    const int N = AT_A_TIME<typename Element::Real>;
    Tile<Element, masked, single, N> tile;
#pragma unroll 1
    for (long long i = start + team.member; i < stop; i += N * team.size) {
        tile.template find<false>(call, base, i, team.size, stop - i);
        tile.load(call);
        own.add(tile.x, tile.in);
    }
}

// As `slices`: states of parts of slices, word k of all after each other, or results of given ones.
template <typename Element, bool masked, int mode>
__device__ __forceinline__ void exact_slices(const Call &call)
{
    typedef typename Element::Real Real;
    const Team team(int(call.team), int(call.lanes), call.members_adjacent);
#pragma unroll 1
    for (long long part = blockIdx.y; part < call.parts; part += gridDim.y) {
        const long long step = call.outer.count > 0 ? part / call.portions : 0;
        const Place outer = place(call.outer, step);
        const long long start = (part - step * call.portions) * call.portion;
        const long long stop = shortest(start + call.portion, call.length);
#pragma unroll 1
        for (long long first = blockIdx.x * call.lanes; first < call.slices;
             first += gridDim.x * call.lanes) {
            const long long slice = first + team.lane;
            const bool present = slice < call.slices;
            const Place base = place(call.kept, present ? slice : 0) + outer;
            if constexpr (mode == REDUCE) {
                __shared__ long long limbs[HELD * LIMBS * THREADS];
                __shared__ double anchors[HELD * THREADS];
                Exactly<Real> own(limbs + threadIdx.x, anchors + threadIdx.x);
                if (present) {
                    if (call.inner.count == 1)
                        take<Element, masked, true>(own, team, call, base, start, stop);
                    else
                        take<Element, masked, false>(own, team, call, base, start, stop);
                }
                const Records to = {
                    call.states.m, (long long *)call.states.w, call.slices * call.parts
                };
                own.template give<false>(team, present, to, slice * call.parts + part);
            } else if (present) {
                const Real m = ((const Real *)call.states.m)[slice];
                const ExactMap<Real> map(m, call.states.s[slice], call.logarithm, masked);
                apply_mixed<Element, masked>(map, team, call, base, start, stop);
            }
        }
    }
}

struct ExactMerge {
    Records to;
    long long slices, parts, count, lanes, team;  // of `count` arrays, parts of each slice
    Words from[16];
};

template <typename Real> __device__ __forceinline__ void exact_merge(const ExactMerge &call)
{
    __shared__ long long limbs[HELD * LIMBS * THREADS];
    __shared__ double anchors[HELD * THREADS];
    const Team team(int(call.team), int(call.lanes), true);
#pragma unroll 1
    for (long long first = blockIdx.x * call.lanes; first < call.slices;
         first += gridDim.x * call.lanes) {
        const long long slice = first + team.lane;
        const bool present = slice < call.slices;
        Exactly<Real> own(limbs + threadIdx.x, anchors + threadIdx.x);
        const long long parts = present ? call.parts : 0;
#pragma unroll 1
        for (int k = 0; k < call.count; ++k) {
#pragma unroll 1
            for (long long i = team.member; i < parts; i += team.size)
                own.add(call.from[k], slice * call.parts + i);
        }
        own.template give<true>(team, present, call.to, slice);
    }
}

#define EXACT(name, Element, masked, mode)                                                \
    extern "C" __global__ void __launch_bounds__(THREADS, 2)                              \
        name(const __grid_constant__ Call call)                                           \
    {                                                                                     \
        exact_slices<Element, masked, mode>(call);                                        \
    }
#define EXACT_MERGE(name, Real)                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS)                                 \
        name(const __grid_constant__ ExactMerge call)                                     \
    {                                                                                     \
        exact_merge<Real>(call);                                                          \
    }
