// Long rows: in parts, of which each block takes one, and what is made of a state that is known.

// The state of the elements that a warp has met, as `Running`, but that m and the reference are the
// same in all lanes: one vote tells that a tile has nothing at or above the maximum, which is so
// for nearly all of them, and then nothing depends on single elements.
template <typename Real> struct OfWarp {
    Real m, reference;
    double w;
    Sum s;

    __device__ __forceinline__ OfWarp()
        : m(Real(-infinity())), reference(Real(-infinity())), w(0), s(0, 0)
    {
    }

    __device__ __forceinline__ void rise(Real top)
    {
        if (w != 0) {
            s.add(m == reference ? w : w * exp(double(m) - double(reference)));
            w = 0;
        }
        m = top;
        if (!(top <= reference + Real(1))) {  // or NaN, which stays
            if (s.value != 0) s.scale(exp(double(reference) - double(top)));
            reference = top;
        }
    }

    template <int N> __device__ __forceinline__ void add(const Real (&x)[N])
    {
        const Real top = top_of<N>(x);
        double terms[N];
        if (__any_sync(ALL_LANES, !(top < m))) {
            const Real higher = top_of(team_top<WARP>(top), m);
            if (!(higher <= m)) rise(higher);
            float at_maximum = 0;
#pragma unroll
            for (int i = 0; i < N; ++i)
                terms[i] = take(exponential(x[i] - reference), x[i], m, at_maximum);
            w += at_maximum;
        } else {
#pragma unroll
            for (int i = 0; i < N; ++i) terms[i] = exponential(x[i] - reference);
        }
        s.add(pairwise<N>(terms));
    }
};

// The state of parts, one in every stride, by one warp: each is scaled once, to the maximum.
struct Parts {
    const volatile Part *part;
    int count, stride;

    __device__ __forceinline__ Part merged() const
    {
        const int lane = threadIdx.x % WARP;
        double top = -infinity();
#pragma unroll 1
        for (int i = lane; i < count; i += WARP) top = top_of(double(part[i * stride].m), top);
        top = team_top<WARP>(top);
        double w = 0;
        Sum s(0, 0);
#pragma unroll 1
        for (int i = lane; i < count; i += WARP) {
            const volatile Part &one = part[i * stride];
            const double m = one.m;
            if (m == top) {
                w += one.w;
                s.add(one.s);
            } else if (!(m == -infinity())) {
                s.add((one.w + one.s) * exp(m - top));
            }
        }
        return {top, team_sum<WARP>(w), team_sum<WARP>(s).total()};
    }
};

// The state of what the warps of a block have; the first warp gets it.
template <int WARPS, typename Real> __device__ __forceinline__ Part of_block(OfWarp<Real> own)
{
    __shared__ Part parts[WARPS];
    __shared__ double errors[WARPS];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const double w = team_sum<WARP>(own.w);
    Sum s = team_sum<WARP>(own.s);
    if (own.reference != own.m && s.value != 0)
        s.scale(exp(double(own.reference) - double(own.m)));
    if (lane == 0) {
        parts[warp] = {double(own.m), w, s.value};
        errors[warp] = s.error;
    }
    __syncthreads();
    if (warp > 0) return {0, 0, 0};
    const bool present = lane < WARPS;
    const double m = present ? parts[lane].m : -infinity(), top = team_top<WARP>(m);
    double at_top = 0;
    Sum rest(0, 0);
    if (present) {
        rest = Sum(parts[lane].s, errors[lane]);
        if (m == top) {
            at_top = parts[lane].w;
        } else {
            const double factor = exp(m - top);
            rest.scale(factor);
            rest.add(parts[lane].w * factor);
        }
    }
    return {top, team_sum<WARP>(at_top), team_sum<WARP>(rest).total()};
}

// What a call wants of a state that is complete; by one thread.
template <typename Element>
__device__ __forceinline__ void give(const Rows &call, long long row, const Part &part)
{
    typedef typename Element::Real Real;
    const State<Real> state =
        state_of(Real(part.m), Total{part.w, Sum(part.s, 0)}, call.length);
    if (call.gives == LOGSUMEXP) {
        ((typename Element::Bits *)call.y)[row] =
            Element::encode(Real(double(state.m) + state.log_d()));
        return;
    }
    ((Real *)call.states.m)[row] = state.m;
    if (call.gives == STATE) call.states.w[row] = state.w;
    call.states.s[row] = call.gives == STATE     ? state.s
                         : call.gives == SOFTMAX ? state.w + state.s
                                                 : state.log_d();
}

enum { LONG_THREADS = 256 };

template <typename Element, int PIECES>
__device__ __forceinline__ void long_rows(const Rows &call)
{
    typedef typename Element::Real Real;
    typedef typename Element::Bits Bits;
    const int N = sizeof(Piece) / sizeof(Bits), TILE = LONG_THREADS * PIECES;
    const long long row = call.count == 1 ? blockIdx.x : blockIdx.x / unsigned(call.count);
    const int own = int(blockIdx.x - row * call.count);
    const Bits *x = (const Bits *)call.x + row * call.length;
    const long long head =
        shortest((0 - (unsigned long long)x) % sizeof(Piece) / sizeof(Bits), call.length);
    const long long pieces = (call.length - head) / N, step = TILE * call.count;
    const Piece *from = (const Piece *)(x + head) + threadIdx.x;
    OfWarp<Real> running;
    Piece loaded[PIECES];
    const auto load = [&](long long tile) {
        const int left = int(shortest(pieces - tile, TILE)) - int(threadIdx.x);
#pragma unroll
        for (int k = 0; k < PIECES; ++k)
            if (k * LONG_THREADS < left) loaded[k] = load_piece(from + tile + k * LONG_THREADS);
    };
    long long at = (long long)own * TILE;
    if (at < pieces) load(at);
#pragma unroll 1
    for (; at < pieces; at += step) {
        Real v[N * PIECES];
#pragma unroll
        for (int k = 0; k < PIECES; ++k) unpack<Element>(v + k * N, loaded[k]);
        if (at + TILE > pieces) {  // the last tile, and not a whole one
            const int left = int(pieces - at) - int(threadIdx.x);
#pragma unroll
            for (int i = 0; i < N * PIECES; ++i)
                v[i] = i / N * LONG_THREADS < left ? v[i] : Real(-infinity());
        }
        if (at + step < pieces) load(at + step);  // it arrives while this one is worked on
        running.add(v);
    }
    if (own == int(pieces / TILE % call.count)) {  // single elements at both ends
        const long long tail = head + pieces * N, ends = head + call.length - tail;
        if (ends > 0) {
            const long long i = threadIdx.x;
            Real one[1] = {Real(-infinity())};
            if (i < ends) one[0] = Element::decode(x[i < head ? i : tail + i - head]);
            running.add(one);
        }
    }
    const Part part = of_block<LONG_THREADS / WARP>(running);
    if (call.count == 1) {
        if (threadIdx.x == 0) give<Element>(call, row, part);
        return;
    }
    // The block that is the last to come here finds the parts of all others.
    __shared__ bool last;
    Part *const parts = call.parts + row * call.count;
    if (threadIdx.x == 0) {
        parts[own] = part;
        __threadfence();
        last = atomicAdd(call.done + row, 1u) == unsigned(call.count) - 1;
    }
    __syncthreads();
    if (last && threadIdx.x < WARP) {
        __threadfence();
        const Part whole = Parts{parts, int(call.count), 1}.merged();
        if (threadIdx.x == 0) give<Element>(call, row, whole);
    }
}

// From the element of a row whose state is known to the result: (x - m) - log d, or exp(x - m) / d
// unless 1 / d is nothing that a float is good for, or m is infinite.
template <typename Element, int output> struct Applied {
    typedef typename Element::Real Real;
    Real m, factor;
    double d;
    bool common;

    __device__ __forceinline__ Applied(const Rows &call, long long row)
        : m(((const Real *)call.states.m)[row]), d(call.states.s[row])
    {
        common = output == LOG_SOFTMAX
                 || (fabs(d) > 1e-37 && fabs(d) < 1e37 && !(m == Real(infinity())));
        factor = output == SOFTMAX ? reciprocal_of(d, Real()) : Real(d);
    }

    __device__ __forceinline__ Real operator()(Real x) const
    {
        return output == SOFTMAX ? exponential(x - m) * factor : (x - m) - factor;
    }

    __device__ __forceinline__ Real slowly(Real x) const
    {
        const Map<Real> map(m, d, output == LOG_SOFTMAX);
        return map(x);
    }
};

// A piece of results, some of which may belong to others.  They are not read soon, and leave the
// cache at once if that is `streaming`.
template <typename Element, bool streaming = true>
__device__ __forceinline__ void put_piece(
    typename Element::Bits *y, const typename Element::Real *v, long long start, long long size
)
{
    const int N = sizeof(Piece) / sizeof(typename Element::Bits);
    if (start >= 0 && start + N <= size) {
        if (streaming)
            store_piece((Piece *)(y + start), packed<Element>(v));
        else
            *(Piece *)(y + start) = packed<Element>(v);
    } else {
#pragma unroll
        for (int k = 0; k < N; ++k)
            if (start + k >= 0 && start + k < size) y[start + k] = Element::encode(v[k]);
    }
}

// Results of rows whose states are known: a piece for each thread, `gives` threads for a row, and
// `count` blocks if that is a block, in which one thread finds what all need of the state.
template <typename Element, int output>
__device__ __forceinline__ void apply_rows(const Rows &call)
{
    typedef typename Element::Real Real;
    typedef typename Element::Bits Bits;
    const int N = sizeof(Piece) / sizeof(Bits), team = int(call.gives), thread = threadIdx.x;
    const bool alone = team == LONG_THREADS;
    const long long group = call.count == 1 ? blockIdx.x : blockIdx.x / unsigned(call.count);
    const long long row = alone ? group : group * (LONG_THREADS / team) + thread / team;
    if (!alone && row >= call.rows) return;
    const long long piece = (blockIdx.x - group * call.count) * team + thread % team;
    const Bits *x = (const Bits *)call.x + row * call.length;
    const int before = int((unsigned long long)x % sizeof(Piece)) / int(sizeof(Bits));
    const long long start = piece * N - before;
    Piece loaded = {{0, 0, 0, 0}};
    if (start < call.length) loaded = load_piece((const Piece *)(x + start));
    Real m, factor;
    bool common;
    if (alone) {
        __shared__ Real known[2];
        __shared__ bool is_common;
        if (thread == 0) {
            const Applied<Element, output> applied(call, row);
            known[0] = applied.m;
            known[1] = applied.factor;
            is_common = applied.common;
        }
        __syncthreads();
        m = known[0];
        factor = known[1];
        common = is_common;
    } else {
        const Applied<Element, output> applied(call, row);
        m = applied.m;
        factor = applied.factor;
        common = applied.common;
    }
    if (start >= call.length) return;
    Real v[N];
    unpack<Element>(v, loaded);
    if (common) {
#pragma unroll
        for (int k = 0; k < N; ++k)
            v[k] = output == SOFTMAX ? exponential(v[k] - m) * factor : (v[k] - m) - factor;
    } else {
#pragma unroll
        for (int k = 0; k < N; ++k) v[k] = Applied<Element, output>(call, row).slowly(v[k]);
    }
    put_piece<Element>((Bits *)call.y + row * call.length, v, start, call.length);
}

// The same of short rows, of a piece or more: a thread takes a piece of all of them, which lies in
// one row or in two.
template <typename Element, int output>
__device__ __forceinline__ void apply_short_rows(const Rows &call)
{
    typedef typename Element::Real Real;
    typedef typename Element::Bits Bits;
    const int N = sizeof(Piece) / sizeof(Bits);
    const Bits *x = (const Bits *)call.x;
    const long long size = call.rows * call.length;
    const int before = int((unsigned long long)x % sizeof(Piece)) / int(sizeof(Bits));
    const long long start = ((long long)blockIdx.x * LONG_THREADS + threadIdx.x) * N - before;
    if (start >= size) return;
    const unsigned long long first = start < 0 ? 0 : start, length = call.length;
    const long long row = first >> 32 ? first / length : unsigned(first) / unsigned(length);
    const long long next = (row + 1) * call.length - start;  // where the next row begins
    Real v[N];
    unpack<Element>(v, load_piece((const Piece *)(x + start)));
    const Applied<Element, output> one(call, row), other(call, shortest(row + 1, call.rows - 1));
    if (one.common && other.common) {
#pragma unroll
        for (int k = 0; k < N; ++k) {
            Applied<Element, output> applied = one;
            applied.m = k < next ? one.m : other.m;
            applied.factor = k < next ? one.factor : other.factor;
            v[k] = applied(v[k]);
        }
    } else {
#pragma unroll
        for (int k = 0; k < N; ++k) v[k] = k < next ? one.slowly(v[k]) : other.slowly(v[k]);
    }
    put_piece<Element>((Bits *)call.y, v, start, size);
}

#define LONG(name, Element, PIECES)                                                    \
    extern "C" __global__ void __launch_bounds__(LONG_THREADS, 4)                      \
        name(const __grid_constant__ Rows call)                                        \
    {                                                                                  \
        long_rows<Element, PIECES>(call);                                              \
    }
#define APPLY_ROWS(name, Element, output)                                              \
    extern "C" __global__ void __launch_bounds__(LONG_THREADS, sizeof(Element::Bits) == 4 ? 8 : 6)    \
        name(const __grid_constant__ Rows call)                                        \
    {                                                                                  \
        apply_rows<Element, output>(call);                                             \
    }
#define APPLY_SHORT(name, Element, output)                                             \
    extern "C" __global__ void __launch_bounds__(LONG_THREADS)                         \
        name(const __grid_constant__ Rows call)                                        \
    {                                                                                  \
        apply_short_rows<Element, output>(call);                                       \
    }
