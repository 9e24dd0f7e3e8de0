// Running log-sum-exps: in parts of a slice, whose sums are merged one after the other, and from
// there on again within each part.

// The sum of exp(x - reference), where the reference is the running maximum, rounded down: so a
// maximum that creeps up does not cost a rounding at each step. NaN and infinities have no sum.
struct Prefix {
    double reference;
    Sum sum;

    __device__ __forceinline__ Prefix() : reference(-infinity()) {}
    __device__ __forceinline__ explicit Prefix(double x) : reference(floor(x))
    {
        if (isfinite(x)) sum.value = straight_exponential(x - reference);
    }
    __device__ __forceinline__ Prefix(double m, double d, double lost) : reference(m)
    {
        if (isfinite(m)) sum = Sum(d, lost);
    }

    // With that of what comes right after.
    __device__ __forceinline__ Prefix then(const Prefix &next) const
    {
        Prefix whole;
        whole.reference = reference != reference ? reference
                          : next.reference > reference || next.reference != next.reference
                              ? next.reference
                              : reference;
        if (!isfinite(whole.reference)) return whole;
        whole.sum = scaled(whole.reference);
        whole.sum.add(next.scaled(whole.reference));
        return whole;
    }

    __device__ __forceinline__ Sum scaled(double to) const
    {
        if (reference == to) return sum;
        const double factor = straight_exponential(reference - to);
        return Sum(__dmul_rn(sum.value, factor), __dmul_rn(sum.error, factor));
    }

    // Rounded once at the size of the result, for the reference and the logarithm may cancel.
    __device__ __forceinline__ double log_sum() const
    {
        if (!isfinite(reference)) return reference;
        Sum d(sum.value, 0);
        d.add(sum.error);
        const Logarithm logarithm(d.value);
        Sum y(reference, 0);
        y.add(logarithm.high.value);
        y.add(logarithm.f.value);
        return y.value + (y.error + (d.error / d.value - logarithm.small.value));
    }
};

struct Run {
    const char *x;
    char *y;
    const double *m, *d, *lost;  // of what comes before each slice, or absent
    double *reference, *value, *error;  // of the parts of slices, then of what comes before each
    long long x_dtype, y_dtype, slices, length, parts, portion;
    long long x_step, y_step;  // from element to element in bytes
    Loops kept;

    __device__ __forceinline__ Prefix before(long long slice) const
    {
        return m ? Prefix(m[slice], d[slice], lost[slice]) : Prefix();
    }
    __device__ __forceinline__ Prefix part(long long i) const
    {
        return Prefix(reference[i], value[i], error[i]);
    }
    __device__ __forceinline__ void put(long long i, const Prefix &prefix) const
    {
        reference[i] = prefix.reference;
        value[i] = prefix.sum.value;
        error[i] = prefix.sum.error;
    }
};

__device__ __forceinline__ Prefix exchanged(const Prefix &prefix, int hop)
{
    return Prefix(
        __shfl_xor_sync(ALL_LANES, prefix.reference, hop),
        __shfl_xor_sync(ALL_LANES, prefix.sum.value, hop),
        __shfl_xor_sync(ALL_LANES, prefix.sum.error, hop)
    );
}

// What comes before a thread, of what all threads of a block have, and after all of them.
struct OfThreads {
    Prefix before, all;

    __device__ __forceinline__ explicit OfThreads(const Prefix &own)
    {
        const int WARPS = THREADS / 32, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        __shared__ double references[WARPS], values[WARPS], errors[WARPS];
        Prefix total = own;
#pragma unroll 1
        for (int hop = 1; hop < 32; hop *= 2) {
            const Prefix other = exchanged(total, hop);
            if (lane & hop) before = other.then(before);
            total = lane & hop ? other.then(total) : total.then(other);
        }
        __syncthreads();
        if (lane == 0) {
            references[warp] = total.reference;
            values[warp] = total.sum.value;
            errors[warp] = total.sum.error;
        }
        __syncthreads();
        Prefix earlier;
#pragma unroll 1
        for (int i = 0; i < WARPS; ++i) {
            if (i == warp) earlier = all;
            all = all.then(Prefix(references[i], values[i], errors[i]));
        }
        before = earlier.then(before);
    }
};

enum { RUN = 4 };  // elements of a thread in a tile

// A part: its sum, or its results.
template <typename Real, bool results> __device__ __forceinline__ void run_part(const Run &call)
{
    const long long slice = blockIdx.x / call.parts, part = blockIdx.x - slice * call.parts;
    const Place base = place(call.kept, slice);
    const long long start = part * call.portion;
    const long long stop = shortest(start + call.portion, call.length);
    Prefix carry;
    if (results) carry = call.parts > 1 ? call.part(blockIdx.x) : call.before(slice);
#pragma unroll 1
    for (long long tile = start; tile < stop; tile += RUN * THREADS) {
        const long long first = tile + RUN * threadIdx.x;
        const char *at[RUN];
        double x[RUN];
#pragma unroll
        for (int i = 0; i < RUN; ++i)
            at[i] = call.x + base.x + shortest(first + i, stop - 1) * call.x_step;
        load_any(x, at, int(call.x_dtype));
        Prefix own[RUN];
#pragma unroll
        for (int i = 0; i < RUN; ++i) {
            if (first + i < stop) own[i] = Prefix(x[i]);
            if (i > 0) own[i] = own[i - 1].then(own[i]);
        }
        const OfThreads threads(own[RUN - 1]);
        if (results) {
            const Prefix before = carry.then(threads.before);
#pragma unroll
            for (int i = 0; i < RUN; ++i)
                if (first + i < stop)
                    store_any(
                        call.y + base.y + (first + i) * call.y_step,
                        Real(before.then(own[i]).log_sum()),
                        int(call.y_dtype)
                    );
        }
        carry = carry.then(threads.all);
    }
    if (!results && threadIdx.x == 0) call.put(blockIdx.x, carry);
}

// What comes before each part of a slice, in place of its sum.
__device__ __forceinline__ void run_over_parts(const Run &call)
{
    const long long slice = blockIdx.x, first = slice * call.parts;
    Prefix carry = call.before(slice);
#pragma unroll 1
    for (long long tile = 0; tile < call.parts; tile += THREADS) {
        const long long part = tile + threadIdx.x;
        Prefix own;
        if (part < call.parts) own = call.part(first + part);
        const OfThreads threads(own);
        if (part < call.parts) call.put(first + part, carry.then(threads.before));
        carry = carry.then(threads.all);
    }
}

#define RUN_KERNEL(name, function)                                              \
    extern "C" __global__ void __launch_bounds__(THREADS, 2)                    \
        name(const __grid_constant__ Run call)                                  \
    {                                                                           \
        function(call);                                                         \
    }
#define RUN_SUMS(name) RUN_KERNEL(name, (run_part<double, false>))
#define RUN_PARTS(name) RUN_KERNEL(name, run_over_parts)
#define RUN_RESULTS(name, Real) RUN_KERNEL(name, (run_part<Real, true>))
