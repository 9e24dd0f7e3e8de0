// The arithmetic of the state (m, w, s), without threads: CUDA for the kernels, C++ for the tests.
//
//     m = max x_i,    w = sum of b_i over x_i == m,    s = sum of b_i exp(x_i - m) over the rest
//
// and of what rides on it, of elements without weights: the moments t and q, or o, a sum of values
//
//     t = sum of (x_i - m) exp(x_i - m),    q = sum of exp(2 (x_i - m)),    both over the rest
//     o = sum of exp(x_i - m) v_i over all
//
// The rules are those of docs/numerics.md.  Real is float or double; sums are double for both.

// CUDA's own, to within 2 ulp (expf) and 1 ulp (exp) without --use_fast_math.
__device__ __forceinline__ float exponential(float t) { return expf(t); }
__device__ __forceinline__ double exponential(double t) { return exp(t); }

// The same, in a few more instructions and without the branches of CUDA's exp, so that those of a
// tile overlap: kernels for any layout are up to 1.3 times as fast with it, those of rows slower.
// Within 1.25 ulp, by the polynomial of `cpu/exp.py`.
__device__ __forceinline__ float straight_exponential(float t) { return expf(t); }
__device__ __forceinline__ double straight_exponential(double t)
{
    // 0 and infinity from here on, by the upper half of t, for comparisons of doubles take as long as
    // their sums.  NaN stays.
    const unsigned high = unsigned((unsigned long long)__double_as_longlong(t) >> 32);
    t = high - 0xc0875000u <= 0xfff00000u - 0xc0875000u ? -746.0 : t;
    t = high - 0x40863000u <= 0x7ff00000u - 0x40863000u ? 710.0 : t;
    const double ROUND = 0x1.8p52;  // leaves n in the low bits of the sum
    const double shifted = fma(t, 1.4426950408889634, ROUND), n = shifted - ROUND;
    const double r = fma(n, -1.90821492927058770002e-10, fma(n, -6.93147180369123816490e-01, t));
    double p = fma(2.511009630403349e-08, r, 2.7632716110097873e-07);
    p = fma(p, r, 2.755724221351069e-06);
    p = fma(p, r, 2.4801487165838708e-05);
    p = fma(p, r, 0.00019841269886699926);
    p = fma(p, r, 0.0013888888947962543);
    p = fma(p, r, 0.008333333333322172);
    p = fma(p, r, 0.041666666666521524);
    p = fma(p, r, 0.16666666666666674);
    p = fma(p, r, 0.500000000000001);
    const double q = fma(p, r * r, r);
    // In two powers of 2, so that a subnormal result is rounded once.
    const int power = int(__double_as_longlong(shifted)), half = power >> 1;
    const double one = __longlong_as_double((long long)(1023 + half) << 52);
    return fma(q, one, one) * __longlong_as_double((long long)(1023 + power - half) << 52);
}

// Of two numbers the one that is not NaN: a NaN element gets into s, and from there into m.
__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ double larger(double a, double b) { return fmax(a, b); }
__device__ __forceinline__ float smaller(float a, float b) { return fminf(a, b); }
__device__ __forceinline__ double smaller(double a, double b) { return fmin(a, b); }

// e as a term of s: what a branch would be, for an element at the maximum counts, and its
// exponential does not.  In C++ the compiler would branch around the exponential, so that no two
// of them overlap.
#ifdef __CUDA_ARCH__
__device__ __forceinline__ float take(float e, float x, float m, float &at_maximum)
{
    float rest;
    asm("{ .reg .pred p; setp.eq.f32 p, %3, %4; selp.f32 %0, 0f00000000, %2, p;"
        " @p add.f32 %1, %1, 0f3F800000; }"
        : "=f"(rest), "+f"(at_maximum)
        : "f"(e), "f"(x), "f"(m));
    return rest;
}

__device__ __forceinline__ double take(double e, double x, double m, float &at_maximum)
{
    double rest;
    asm("{ .reg .pred p; setp.eq.f64 p, %3, %4; selp.f64 %0, 0d0000000000000000, %2, p;"
        " @p add.f32 %1, %1, 0f3F800000; }"
        : "=d"(rest), "+f"(at_maximum)
        : "d"(e), "d"(x), "d"(m));
    return rest;
}

// One of two numbers that are both computed.
__device__ __forceinline__ float pick(bool first, float a, float b)
{
    float chosen;
    asm("{ .reg .pred p; setp.ne.s32 p, %3, 0; selp.f32 %0, %1, %2, p; }"
        : "=f"(chosen)
        : "f"(a), "f"(b), "r"(int(first)));
    return chosen;
}

__device__ __forceinline__ double pick(bool first, double a, double b)
{
    double chosen;
    asm("{ .reg .pred p; setp.ne.s32 p, %3, 0; selp.f64 %0, %1, %2, p; }"
        : "=d"(chosen)
        : "d"(a), "d"(b), "r"(int(first)));
    return chosen;
}
#else
template <typename Real> inline Real pick(bool first, Real a, Real b) { return first ? a : b; }

template <typename Real> inline Real take(Real e, Real x, Real m, float &at_maximum)
{
    at_maximum += x == m;
    return x == m ? 0 : e;
}
#endif

__device__ __forceinline__ double infinity() { return __longlong_as_double(0x7ff0000000000000LL); }
__device__ __forceinline__ double nan() { return __longlong_as_double(0x7ff8000000000000LL); }

// A sum and what its additions rounded away: Knuth's TwoSum, which needs no order of sizes.
struct Sum {
    double value, error;

    __device__ __forceinline__ Sum() : value(0), error(0) {}
    __device__ __forceinline__ Sum(double value, double error) : value(value), error(error) {}

    __device__ __forceinline__ void add(double term)
    {
        double total = value + term;
        double virtual_term = total - value;
        error += (value - (total - virtual_term)) + (term - virtual_term);
        value = total;
    }

    __device__ __forceinline__ void add(const Sum &other)
    {
        add(other.value);
        error += other.error;
    }

    __device__ __forceinline__ void scale(double factor)
    {
        value *= factor;
        error *= factor;
    }

    __device__ __forceinline__ double total() const  // the error of an infinite sum is NaN
    {
        return isfinite(value) ? value + error : value;
    }
};

// The log of d = w + s of a state without weights, with what that sum rounds away: within 2 ulp.
__device__ __forceinline__ double log_of(double w, double s, double)
{
    const double d = w + s, rest = d - w;
    const double lost = (w - (d - rest)) + (s - rest);
    return log(d) + lost * double(1 / float(d));
}

// The same for float results, from s + (w - 1), which loses nothing.
__device__ __forceinline__ float log_of(float w, float s, float) { return log1pf(s + (w - 1)); }
__device__ __forceinline__ float log_of(double w, double s, float)
{
    return log1pf(float(s + (w - 1)));
}

// What a state has: no more; moments; or values, of which the sum o is at the place of t.
enum { PLAIN = 0, MOMENTS = 1, VALUES = 2 };

template <typename Real> struct State {
    Real m;
    double w, s, t, q;

    __device__ __forceinline__ double log_d() const { return log_of(w, s, 0.0); }
};

// The sum of N terms, with log2(N) roundings on the way of each.
template <int N, typename Real> __device__ __forceinline__ Real pairwise(const Real *terms)
{
    if constexpr (N == 1)
        return *terms;
    else
        return pairwise<N / 2>(terms) + pairwise<N - N / 2>(terms + N / 2);
}

// The state of the elements that one thread has met: the online softmax (arXiv:1805.02867,
// Algorithm 3).  s is scaled by exp(-reference), and so are the sums beside it; the reference
// follows the running maximum only when that has risen by more than 1: nothing is rescaled while
// the maximum stays, and one that creeps up in 10^5 steps does not cost as many roundings.
template <typename Real, int kind = PLAIN> struct Running {
    Real m, reference;
    Sum w, s, t, q;  // o at the place of t is of all elements, those at the maximum included

    __device__ __forceinline__ Running() : Running(Real(-infinity())) {}
    __device__ __forceinline__ explicit Running(Real top) : m(top), reference(top) {}

    __device__ __forceinline__ explicit Running(const State<Real> &state)
        : m(state.m), reference(state.m), w(state.w, 0), s(state.s, 0), t(state.t, 0), q(state.q, 0)
    {
    }

    __device__ __forceinline__ void rise(Real top)
    {
        // What was at the maximum joins the rest.
        if (w.value != 0) join(m != reference ? double(m) - double(reference) : 0);  // nor both -inf
        m = top;
        if (top > reference + Real(1)) {
            if (s.value != 0) shift(double(reference) - double(top));
            reference = top;
        }
    }

    // The weights at the maximum as some of the rest, if that is above the reference by so much.
    __device__ __forceinline__ void join(double above)
    {
        const double e = straight_exponential(above);
        const double term = w.total() * e;
        s.add(term);
        if (kind == MOMENTS && term != 0) {  // above may be -inf
            t.add(term * above);
            q.add(term * e);
        }
        w = Sum();
    }

    // The sums of the rest where the reference moves by -below.
    __device__ __forceinline__ void shift(double below)
    {
        const double factor = straight_exponential(below);
        if (kind == VALUES) t.scale(factor);
        if (kind == MOMENTS && factor == 0) {  // below may be -inf
            t = q = Sum();
        } else if (kind == MOMENTS) {
            t.add(s.total() * below);
            t.scale(factor);
            q.scale(factor * factor);
        }
        s.scale(factor);
    }

    // Have the sums as they are in a union that has its maximum at top, in one step.
    __device__ __forceinline__ void move(Real top)
    {
        if (reference != top) shift(double(reference) - double(top));
        if (m != top) join(double(m) - double(top));
        m = reference = top;
    }

    // The state of other elements, none of them above m.
    __device__ __forceinline__ void add(Running part)
    {
        part.move(m);
        w.add(part.w);
        s.add(part.s);
        if (kind != PLAIN) t.add(part.t);
        if (kind == MOMENTS) q.add(part.q);
    }

    // N elements of weight 1, N a power of two, and their values.  What is out is -inf and its value
    // 0, and `out` says how many there are of it.
    template <int N>
    __device__ __forceinline__ void add(const Real (&x)[N], int out = 0, const double *v = nullptr)
    {
        Real top = x[0];
#pragma unroll
        for (int i = 1; i < N; ++i) top = larger(top, x[i]);
        if (top > m) rise(top);
        double at_m = m > Real(-infinity());
        if (kind == VALUES && m != reference) at_m = exp(double(m) - double(reference));
        double terms[N], t_terms[N], q_terms[N];
        float at_maximum = 0;
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const Real below = x[i] - reference;
            const double e = take(straight_exponential(below), x[i], m, at_maximum);
            terms[i] = e;
            if (kind == MOMENTS) {
                t_terms[i] = e == 0 ? 0.0 : double(below) * e;  // below may be -inf
                q_terms[i] = e * e;
            }
            if (kind == VALUES) t_terms[i] = (x[i] == m ? at_m : e) * v[i];
        }
        if (out && m == Real(-infinity())) at_maximum -= out;
        w.value += at_maximum;  // exact
        s.add(pairwise<N>(terms));
        if (kind != PLAIN) t.add(pairwise<N>(t_terms));
        if (kind == MOMENTS) q.add(pairwise<N>(q_terms));
    }

    // N elements with weights b.
    template <int N> __device__ __forceinline__ void add(Real (&x)[N], double (&b)[N])
    {
        bool finite = true;
#pragma unroll
        for (int i = 0; i < N; ++i) {
            finite = finite && fabs(b[i]) < infinity();
            x[i] = b[i] == 0 ? Real(-infinity()) : x[i];  // nothing, whatever x is
        }
        if (!finite)
#pragma unroll
            for (int i = 0; i < N; ++i) make_finite(x[i], b[i]);
        Real top = x[0];
#pragma unroll
        for (int i = 1; i < N; ++i) top = larger(top, x[i]);
        if (top > m) rise(top);
        double terms[N], w_terms[N];
#pragma unroll
        for (int i = 0; i < N; ++i) {
            float at_maximum = 0;
            const Real e = straight_exponential(x[i] - reference);
            terms[i] = b[i] * take(e, x[i], m, at_maximum);
            w_terms[i] = b[i] * double(at_maximum);
        }
        double at_m = pairwise<N>(w_terms);
        if (m == Real(infinity()))  // both signs of infinite weights give NaN
#pragma unroll
            for (int i = 0; i < N; ++i)
                if (w_terms[i] != 0) at_m += w_terms[i] * infinity();
        w.add(at_m);
        s.add(pairwise<N>(terms));
    }

    // Weights of inf and NaN become values of x: +-inf is +-exp(inf), or NaN with x = -inf; NaN is
    // NaN.
    static __device__ __forceinline__ void make_finite(Real &x, double &b)
    {
        if (isinf(b)) {
            x = x > Real(-infinity()) ? Real(infinity()) : Real(nan());
            b = copysign(1.0, b);
        } else if (b != b) {
            x = Real(nan());
            b = 1;
        }
    }

    // The state where the reference is m: NaN in m where an element was NaN.
    __device__ __forceinline__ State<Real> state() const
    {
        State<Real> state = {m, w.total(), s.total(), t.total(), q.total()};
        if (state.s != state.s) {
            state.m = Real(nan());
            state.w = 0;
            state.t = state.q = state.s;
        }
        return state;
    }
};

// From an element to its result: exp(x - m) / d with 1 / d as a factor, or with a division where
// that is infinite, as only weights make it; or (x - m) - log d.
enum { FACTOR = 0, DIVISION = 1, DIFFERENCE = 2 };

template <typename Real> struct Map {
    Real m, factor;
    double d;
    int how;

    __device__ __forceinline__ Map(Real m, double d_or_log, bool logarithm)
        : m(m), factor(Real(d_or_log)), d(d_or_log), how(DIFFERENCE)
    {
        if (logarithm) return;
        if (m == Real(infinity())) d = nan();  // inf - inf, in the whole slice, as in SciPy
        factor = Real(1 / d);
        how = isinf(factor) && d != 0 ? DIVISION : FACTOR;
    }

    // Once for many elements: a function of a map whose way is known when it is compiled.
    template <typename Function> __device__ __forceinline__ void choose(Function function) const
    {
        if (how == FACTOR)
            function(Way<FACTOR>{*this});
        else if (how == DIFFERENCE)
            function(Way<DIFFERENCE>{*this});
        else
            function(Way<DIVISION>{*this});
    }

    __device__ __forceinline__ Real operator()(Real x) const
    {
        if (how == DIFFERENCE) return (x - m) - factor;
        const Real e = exponential(x - m);
        return how == DIVISION ? Real(double(e) / d) : e * factor;
    }

    template <int way> struct Way {
        const Map &map;

        __device__ __forceinline__ Real operator()(Real x) const
        {
            const Real shifted = x - map.m;
            if constexpr (way == DIFFERENCE) return shifted - map.factor;
            if constexpr (way == DIVISION) return Real(double(straight_exponential(shifted)) / map.d);
            return straight_exponential(shifted) * map.factor;
        }

        // The result of an element that is out, also where the others have none.
        __device__ __forceinline__ Real of_nothing() const
        {
            return way == DIFFERENCE ? Real(-infinity()) : Real(0);
        }
    };
};
