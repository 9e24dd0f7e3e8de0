// Exact states, merges of them, and results of given ones, of blocks of any layout.
//
// Elements that are nearest to one multiple of 64, the anchor, are a class.  Their exponentials
// relative to it are added in floats, up to 256 at a time, then as integers to the limbs of the
// class.  A thread holds the highest three classes that it has met, in shared memory: of the rest,
// without the maximum, two are wanted, and the first may have nothing but that.

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
