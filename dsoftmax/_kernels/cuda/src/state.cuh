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

// Of two numbers the one that is not NaN: a NaN element gets into s, and from there into m.
__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ double larger(double a, double b) { return fmax(a, b); }
__device__ __forceinline__ float smaller(float a, float b) { return fminf(a, b); }
__device__ __forceinline__ double smaller(double a, double b) { return fmin(a, b); }

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

// What a state has: no more; moments; or values, of which the sum o is at the place of t.
enum { PLAIN = 0, MOMENTS = 1, VALUES = 2 };

template <typename Real> struct State {
    Real m;
    double w, s, t, q;

    // log d without what d = w + s rounds away; for states without weights
    __device__ __forceinline__ double log_d() const { return log1p(s / w) + log(w); }
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
        const double e = above != 0 ? exp(above) : 1;
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
        const double factor = exp(below);
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

    // N elements of weight 1, N a power of two, and their values.  Bits of in tell which of them
    // count; the others have to be -inf, and their values 0.
    template <int N>
    __device__ __forceinline__ void add(
        const Real (&x)[N], unsigned in = ~0u, const double *v = nullptr
    )
    {
        Real top = x[0];
#pragma unroll
        for (int i = 1; i < N; ++i) top = larger(top, x[i]);
        if (top > m) rise(top);
        double at_m = m > Real(-infinity());
        if (kind == VALUES && m != reference) at_m = exp(double(m) - double(reference));
        double terms[N], t_terms[N], q_terms[N];
        int at_maximum = 0;
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const bool is_maximum = x[i] == m;
            const Real below = x[i] - reference;
            const double e = is_maximum ? 0.0 : double(exponential(below));
            at_maximum += is_maximum && (in >> i & 1);
            terms[i] = e;
            if (kind == MOMENTS) {
                t_terms[i] = e == 0 ? 0.0 : double(below) * e;  // below may be -inf
                q_terms[i] = e * e;
            }
            if (kind == VALUES) t_terms[i] = (is_maximum ? at_m : e) * v[i];
        }
        if (at_maximum) w.value += at_maximum;  // exact
        s.add(pairwise<N>(terms));
        if (kind != PLAIN) t.add(pairwise<N>(t_terms));
        if (kind == MOMENTS) q.add(pairwise<N>(q_terms));
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

    // The result of an element that is out, also where the others have none.
    __device__ __forceinline__ Real of_nothing() const
    {
        return logarithm ? Real(-infinity()) : Real(0);
    }
};
