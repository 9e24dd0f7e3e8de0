// What comes of states, of elements with weights or without, one number for each.

// log|d| = log|w| + log1p(s / w), the other way round where s is larger, as in `_algebra`; NaN where
// weights make d negative, or the log-sum-exp, which is m + log d.
template <typename Real> __device__ __forceinline__ void finish(const Rows &call)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= call.rows) return;
    const double w = call.states.w[i], s = call.states.s[i];
    const double m = call.gives == LOGSUMEXP ? double(((const Real *)call.states.m)[i]) : 0;
    const bool swapped = fabs(s) > fabs(w);
    const double base = swapped ? s : w, other = swapped ? w : s;
    const double ratio = other == 0 ? 0 : other / base;
    const bool negative = m != -infinity() && (base < 0 ? 1 + ratio > 0 : base > 0 && 1 + ratio < 0);
    ((double *)call.y)[i] = negative ? nan() : log1p(ratio) + log(fabs(base)) + m;
}

// The entropy or the effective sample size, as in `_algebra/moments.py`: 0 of nothing, and NaN where
// there is no softmax.
enum { ENTROPY = 4, EFFECTIVE_SAMPLE_SIZE = 5 };

template <typename Real> __device__ __forceinline__ void finish_moments(const Rows &call)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= call.rows) return;
    const State<Real> state = call.states.get<Real, MOMENTS>(i);
    const double d = state.w + state.s;
    double value = call.gives == ENTROPY ? state.log_d() + fabs(state.t) / d
                                         : d * d / (state.w + state.q);
    if (isinf(state.m)) value = state.m < 0 && state.w == 0 ? 0 : nan();
    ((double *)call.y)[i] = value;
}

#define FINISH(name, Real)                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS)                              \
        name(const __grid_constant__ Rows call)                                        \
    {                                                                                  \
        if (call.gives >= ENTROPY)                                                     \
            finish_moments<Real>(call);                                                \
        else                                                                           \
            finish<Real>(call);                                                        \
    }

// Up to 16 states of each of as many slices, and what they are together.
struct Union {
    long long count, size;
    Fields to, from[16];
};

template <typename Real> __device__ __forceinline__ void unite(const Union &call)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= call.size) return;
    Real top = Real(-infinity());
#pragma unroll 1
    for (int k = 0; k < call.count; ++k) top = top_of(top, ((const Real *)call.from[k].m)[i]);
    Running<Real> whole(top);
#pragma unroll 1
    for (int k = 0; k < call.count; ++k)
        whole.add(Running<Real>(call.from[k].get<Real, PLAIN>(i)));
    call.to.put<Real, PLAIN>(i, whole.state());
}

#define UNITE(name, Real)                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)                              \
        name(const __grid_constant__ Union call)                                       \
    {                                                                                  \
        unite<Real>(call);                                                             \
    }
