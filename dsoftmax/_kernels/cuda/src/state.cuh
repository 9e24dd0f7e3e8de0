// The arithmetic of the state (m, w, s), without threads: CUDA for the kernels, C++ for the tests.
//
//     m = max x_i,    w = sum of b_i over x_i == m,    s = sum of b_i exp(x_i - m) over the rest
//
// The rules are those of docs/numerics.md.  Real is float or double; sums are double for both.

// CUDA's own, to within 2 ulp (expf) and 1 ulp (exp) without --use_fast_math.
__device__ __forceinline__ float exponential(float t) { return expf(t); }
__device__ __forceinline__ double exponential(double t) { return exp(t); }

// Of two numbers the one that is not NaN: a NaN element gets into s, and from there into m.
__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ double larger(double a, double b) { return fmax(a, b); }

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

template <typename Real> struct State {
    Real m;
    double w, s;

    // log d without what d = w + s rounds away; for states without weights
    __device__ __forceinline__ double log_d() const { return log1p(s / w) + log(w); }
};

// The sum of N terms, N a power of two, with log2(N) roundings on the way of each.
template <int N> __device__ __forceinline__ double pairwise(const double *terms)
{
    if constexpr (N == 1)
        return *terms;
    else
        return pairwise<N / 2>(terms) + pairwise<N / 2>(terms + N / 2);
}

// The state of the elements that one thread has met: the online softmax (arXiv:1805.02867,
// Algorithm 3).  s is scaled by exp(-reference), and the reference follows the running maximum only
// when that has risen by more than 1: nothing is rescaled while the maximum stays, and one that
// creeps up in 10^5 steps does not cost as many roundings.
template <typename Real> struct Running {
    Real m, reference;
    Sum w, s;

    __device__ __forceinline__ Running() : m(Real(-infinity())), reference(m) {}

    __device__ __forceinline__ explicit Running(const State<Real> &state)
        : m(state.m), reference(state.m), w(state.w, 0), s(state.s, 0)
    {
    }

    __device__ __forceinline__ void rise(Real top)
    {
        if (w.value != 0) {  // what was at the maximum joins the rest
            double term = w.total();
            if (m != reference) term *= exp(double(m) - double(reference));  // nor both -inf
            s.add(term);
            w = Sum();
        }
        m = top;
        if (top > reference + Real(1)) {
            if (s.value != 0) s.scale(exp(double(reference) - double(top)));
            reference = top;
        }
    }

    // N elements, N a power of two, of weight 1
    template <int N> __device__ __forceinline__ void add(const Real (&x)[N])
    {
        Real top = x[0];
#pragma unroll
        for (int i = 1; i < N; ++i) top = larger(top, x[i]);
        if (top > m) rise(top);
        double terms[N];
        int at_maximum = 0;
#pragma unroll
        for (int i = 0; i < N; ++i) {
            bool is_maximum = x[i] == m;
            at_maximum += is_maximum;
            terms[i] = is_maximum ? 0.0 : double(exponential(x[i] - reference));
        }
        if (at_maximum) w.value += at_maximum;  // exact
        s.add(pairwise<N>(terms));
    }

    // An element of weight b.  Weights of 0, inf and NaN become values of x: 0 exp(x) is nothing
    // whatever x is; +-inf is +-exp(inf), or NaN with x = -inf; NaN is NaN.
    __device__ __forceinline__ void add(Real x, double b)
    {
        if (b == 0) {
            x = Real(-infinity());
        } else if (isinf(b)) {
            x = x > Real(-infinity()) ? Real(infinity()) : Real(nan());
            b = copysign(1.0, b);
        } else if (b != b) {
            x = Real(nan());
            b = 1;
        }
        if (x > m) rise(x);
        if (x == m)  // at +inf weights count as infinite, so that both signs of them give NaN
            w.add(m == Real(infinity()) ? b * infinity() : b);
        else
            s.add(b * double(exponential(x - reference)));
    }

    // What this adds to w and to s of a union that has its maximum at top, in one step.
    __device__ __forceinline__ Sum weights_at(Real top) const { return m == top ? w : Sum(); }

    __device__ __forceinline__ Sum rest_below(Real top) const
    {
        Sum rest = s;
        if (reference != top) rest.scale(exp(double(reference) - double(top)));
        if (m != top) rest.add(w.total() * exp(double(m) - double(top)));
        return rest;
    }
};

// The state of a union from its sums: NaN in m where an element was NaN.
template <typename Real>
__device__ __forceinline__ State<Real> united(Real top, const Sum &w, const Sum &s)
{
    State<Real> state = {top, w.total(), s.total()};
    if (state.s != state.s) {
        state.m = Real(nan());
        state.w = 0;
    }
    return state;
}

// From an element to its result, exp(x - m) / d or (x - m) - log d.
template <typename Real> struct Map {
    Real m, factor;
    double d;
    bool logarithm, divides;

    __device__ __forceinline__ Map(Real m, double d_or_log, bool logarithm)
        : m(m), factor(Real(d_or_log)), d(d_or_log), logarithm(logarithm), divides(false)
    {
        if (logarithm) return;
        if (m == Real(infinity())) d = nan();  // inf - inf, in the whole slice, as in SciPy
        factor = Real(1 / d);
        divides = isinf(factor) && d != 0;  // only weights make d so small
    }

    __device__ __forceinline__ Real operator()(Real x) const
    {
        Real shifted = x - m;
        if (logarithm) return shifted - factor;
        Real e = exponential(shifted);
        return divides ? Real(double(e) / d) : e * factor;
    }
};
