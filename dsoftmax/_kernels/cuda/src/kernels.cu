// The kernels: from blocks of any layout to states, and from states to results.
//
// A team of threads takes a part of a slice; a thread block is as many teams as it has lanes, which
// work on slices side by side.  Which threads are neighbours, and so share what is fetched of
// memory, is up to the call: those of a team where slices run along memory, the lanes where they
// run across it.  How slices are cut and teams are made is decided in `_cuda_plan.py`.

// Only loops over the elements of a tile are unrolled: the others would take registers for nothing.

// What to do with a slice, as in `_protocol.py`: take its state, or map it to the result, or both.
enum { REDUCE = 1, APPLY = 2 };

// How the elements of a part lie: one after the other, or anyhow; or anyhow and with weights.
enum { CONTIGUOUS = 0, STRIDED = 1, WEIGHTED = 2 };

const int THREADS = 256;  // of a block, at most

// Axes that are walked as one, with the distances in bytes of x, b and y.
struct Loop {
    long long length, x, b, y;
};

// Nested, the fastest last.
struct Loops {
    long long count;
    Loop loop[8];
};

// All fields have eight bytes, so that Python need not know how C++ aligns them.
struct Call {
    const char *x, *b;
    char *y;
    void *m;  // states; with APPLY alone s is d or log d, one for each slice
    double *w, *s;
    long long x_dtype, b_dtype;
    long long slices;
    long long parts;     // of a slice, each with a state of its own
    long long length;    // of the inner loops
    long long portion;   // how much of that a part takes at most
    long long portions;  // how many of them there are; as many parts for each step of outer
    long long lanes, team, members_adjacent;
    long long logarithm;
    Loops kept, outer, inner;  // a slice is an index of kept; its elements are outer x inner
};

struct Merge {
    const void *m;  // the states of the parts of each slice
    const double *w, *s;
    void *to_m;  // and those of the slices
    double *to_w, *to_s;
    long long slices, parts, lanes, team;
};

struct Place {
    long long x, b, y;
};

__device__ __forceinline__ Place place(const Loops &loops, unsigned long long index)
{
    Place at = {0, 0, 0};
#pragma unroll 1
    for (int i = int(loops.count) - 1; i >= 0; --i) {
        const Loop &loop = loops.loop[i];
        unsigned long long step = index, length = loop.length;
        if (i > 0) {  // a division of 64 bits takes several times as long as one of 32
            index = (index | length) >> 32 ? index / length : unsigned(index) / unsigned(length);
            step -= index * length;
        }
        at.x += step * loop.x;
        at.b += step * loop.b;
        at.y += step * loop.y;
    }
    return at;
}

__device__ __forceinline__ long long shortest(long long a, long long b) { return a < b ? a : b; }

// Where a thread is in its block.
struct Team {
    int size, lane, member, hop;

    __device__ __forceinline__ Team(int size, int lanes, bool members_adjacent) : size(size)
    {
        int thread = threadIdx.x;
        member = members_adjacent ? thread % size : thread / lanes;
        lane = members_adjacent ? thread / size : thread % lanes;
        hop = members_adjacent ? 1 : lanes;
    }

    // The largest number that a member has; all threads of the block have to come here.
    __device__ __forceinline__ double largest(double number) const
    {
        if (size == 1) return number;
        __shared__ double table[THREADS];
        double *own = table + threadIdx.x;
        *own = number;
#pragma unroll 1
        for (int half = size / 2; half > 0; half /= 2) {
            __syncthreads();
            if (member < half) *own = larger(*own, own[half * hop]);
        }
        __syncthreads();
        number = own[-member * hop];
        __syncthreads();
        return number;
    }

    // The sum of what the members have.
    __device__ __forceinline__ Sum sum(Sum part) const
    {
        if (size == 1) return part;
        __shared__ double values[THREADS], errors[THREADS];
        double *value = values + threadIdx.x, *error = errors + threadIdx.x;
        *value = part.value;
        *error = part.error;
#pragma unroll 1
        for (int half = size / 2; half > 0; half /= 2) {
            __syncthreads();
            if (member < half) {
                part.add(value[half * hop]);
                part.error += error[half * hop];
                *value = part.value;
                *error = part.error;
            }
        }
        __syncthreads();
        part = Sum(value[-member * hop], error[-member * hop]);
        __syncthreads();
        return part;
    }
};

// How a run of elements is cut: single ones up to the first address of a piece, pieces, and single
// ones again.  A run whose results do not come to lie on pieces where its elements do has none.
template <typename Element> struct Cut {
    static const int ITEM = sizeof(typename Element::Bits);
    static const int PER_PIECE = sizeof(Piece) / ITEM;
    // Elements that a thread loads before it works on them: enough to wait for memory only once.
    static const int TILE = sizeof(typename Element::Real) == 4 ? 16 : 8;
    static const int AT_ONCE = PER_PIECE < TILE ? TILE / PER_PIECE : 1;

    long long head, pieces, tail;

    __device__ __forceinline__ Cut(const char *run, long long count, bool aligned = true)
    {
        long long before = (0 - (unsigned long long)run) % sizeof(Piece) / ITEM;
        head = aligned ? shortest(before, count) : count;
        pieces = (count - head) / PER_PIECE;
        tail = head + pieces * PER_PIECE;
    }
};

template <typename Element>
__device__ __forceinline__ void reduce_run(
    Running<typename Element::Real> &state, const Team &team, const char *run, long long count
)
{
    typedef typename Element::Real Real;
    const int PER_PIECE = Cut<Element>::PER_PIECE, AT_ONCE = Cut<Element>::AT_ONCE;
    const Cut<Element> cut(run, count);
    const Piece *pieces = (const Piece *)(run + cut.head * Cut<Element>::ITEM);
    long long i = team.member;
#pragma unroll 1
    for (; i + (AT_ONCE - 1) * team.size < cut.pieces; i += AT_ONCE * team.size) {
        Piece loaded[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) loaded[k] = pieces[i + k * team.size];
        Real tile[AT_ONCE * PER_PIECE];
#pragma unroll
        for (int k = 0; k < AT_ONCE * PER_PIECE; ++k)
            tile[k] = Element::decode(
                taken<typename Element::Bits>(loaded[k / PER_PIECE], k % PER_PIECE)
            );
        state.add(tile);
    }
#pragma unroll 1
    for (; i < cut.pieces; i += team.size) {
        Piece loaded = pieces[i];
        Real tile[PER_PIECE];
#pragma unroll
        for (int k = 0; k < PER_PIECE; ++k)
            tile[k] = Element::decode(taken<typename Element::Bits>(loaded, k));
        state.add(tile);
    }
    // The single elements at both ends, as if they were one after the other.
    long long ends = cut.head + (count - cut.tail), skipped = cut.tail - cut.head;
#pragma unroll 1
    for (i = team.member; i < ends; i += team.size) {
        long long index = i < cut.head ? i : i + skipped;
        Real one[1] = {load<Element>(run + index * Cut<Element>::ITEM)};
        state.add(one);
    }
}

// Several loops take a division for each element and loop, one takes none.
template <typename Element, bool single>
__device__ __forceinline__ void reduce_strided(
    Running<typename Element::Real> &state,
    const Team &team,
    const char *x,
    const Loops &loops,
    long long start,
    long long stop
)
{
    const int TILE = single ? 8 : 2;
    const long long stride = loops.loop[0].x;
    long long i = start + team.member;
#pragma unroll 1
    for (; i + (TILE - 1) * team.size < stop; i += TILE * team.size) {
        typename Element::Real tile[TILE];
#pragma unroll
        for (int k = 0; k < TILE; ++k) {
            const long long index = i + k * team.size;
            tile[k] = load<Element>(x + (single ? index * stride : place(loops, index).x));
        }
        state.add(tile);
    }
#pragma unroll 1
    for (; i < stop; i += team.size) {
        typename Element::Real one[1] = {load<Element>(x + place(loops, i).x)};
        state.add(one);
    }
}

template <typename Real>
__device__ __forceinline__ void reduce_weighted(
    Running<Real> &state, const Team &team, const Call &call, Place base, long long start,
    long long stop
)
{
    const char *x = call.x + base.x, *b = call.b + base.b;
#pragma unroll 1
    for (long long i = start + team.member; i < stop; i += team.size) {
        Place at = place(call.inner, i);
        Real value = load_any<Real>(x + at.x, int(call.x_dtype));
        state.add(value, load_any<double>(b + at.b, int(call.b_dtype)));
    }
}

template <typename Element>
__device__ __forceinline__ void apply_piece(
    const Map<typename Element::Real> &map, const Piece &loaded, Piece *results
)
{
    typedef typename Element::Result Result;
    const int PER_RESULT = sizeof(Piece) / sizeof(typename Result::Bits);
#pragma unroll
    for (int r = 0; r < Cut<Element>::PER_PIECE / PER_RESULT; ++r) {
        Piece ready = {{0, 0, 0, 0}};
#pragma unroll
        for (int i = 0; i < PER_RESULT; ++i) {
            typename Element::Bits bits = taken<typename Element::Bits>(loaded, r * PER_RESULT + i);
            put(ready, i, Result::encode(map(Element::decode(bits))));
        }
        results[r] = ready;
    }
}

template <typename Element>
__device__ __forceinline__ void apply_run(
    const Map<typename Element::Real> &map,
    const Team &team,
    const char *run,
    char *result,
    long long count
)
{
    typedef typename Element::Result Result;
    typedef typename Result::Bits ResultBits;
    const int ITEM = Cut<Element>::ITEM, RESULT = sizeof(ResultBits);
    const int AT_ONCE = Cut<Element>::AT_ONCE;
    const int RESULTS = Cut<Element>::PER_PIECE * RESULT / sizeof(Piece);  // of one piece
    unsigned long long before = (0 - (unsigned long long)run) % sizeof(Piece) / ITEM;
    bool aligned = ((unsigned long long)result + before * RESULT) % sizeof(Piece) == 0;
    const Cut<Element> cut(run, count, aligned);
    const Piece *pieces = (const Piece *)(run + cut.head * ITEM);
    Piece *results = (Piece *)(result + cut.head * RESULT);
    long long i = team.member;
#pragma unroll 1
    for (; i + (AT_ONCE - 1) * team.size < cut.pieces; i += AT_ONCE * team.size) {
        Piece loaded[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) loaded[k] = pieces[i + k * team.size];
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k)
            apply_piece<Element>(map, loaded[k], results + (i + k * team.size) * RESULTS);
    }
#pragma unroll 1
    for (; i < cut.pieces; i += team.size)
        apply_piece<Element>(map, pieces[i], results + i * RESULTS);
    long long ends = cut.head + (count - cut.tail), skipped = cut.tail - cut.head;
#pragma unroll 1
    for (i = team.member; i < ends; i += team.size) {
        long long index = i < cut.head ? i : i + skipped;
        ((ResultBits *)result)[index] = Result::encode(map(load<Element>(run + index * ITEM)));
    }
}

template <typename Element, bool single>
__device__ __forceinline__ void apply_strided(
    const Map<typename Element::Real> &map,
    const Team &team,
    const char *x,
    char *y,
    const Loops &loops,
    long long start,
    long long stop
)
{
    typedef typename Element::Result Result;
    const int TILE = single ? 8 : 2;
    const Loop &only = loops.loop[0];
    long long i = start + team.member;
#pragma unroll 1
    for (; i + (TILE - 1) * team.size < stop; i += TILE * team.size) {
        typename Element::Real tile[TILE];
        long long to[TILE];
#pragma unroll
        for (int k = 0; k < TILE; ++k) {
            const long long index = i + k * team.size;
            const Place at = single ? Place{index * only.x, 0, index * only.y} : place(loops, index);
            tile[k] = load<Element>(x + at.x);
            to[k] = at.y;
        }
#pragma unroll
        for (int k = 0; k < TILE; ++k)
            *(typename Result::Bits *)(y + to[k]) = Result::encode(map(tile[k]));
    }
#pragma unroll 1
    for (; i < stop; i += team.size) {
        const Place at = place(loops, i);
        *(typename Result::Bits *)(y + at.y) = Result::encode(map(load<Element>(x + at.x)));
    }
}

template <typename Real>
__device__ __forceinline__ State<Real> unite(const Team &team, const Running<Real> &state)
{
    Real top = Real(team.largest(state.m));
    Sum w = team.sum(state.weights_at(top));
    return united(top, w, team.sum(state.rest_below(top)));
}

// All threads of a block take the same number of turns, for they wait for one another in `Team`.
template <typename Element, int layout, int mode>
__device__ __forceinline__ void slices(const Call &call)
{
    typedef typename Element::Real Real;
    const Team team(int(call.team), int(call.lanes), call.members_adjacent);
#pragma unroll 1
    for (long long part = blockIdx.y; part < call.parts; part += gridDim.y) {
        // No division where it is not needed: it takes as long as a short row.
        const long long step = call.outer.count > 0 ? part / call.portions : 0;
        const Place outer = place(call.outer, step);
        const long long start = (part - step * call.portions) * call.portion;
        const long long stop = shortest(start + call.portion, call.length);
#pragma unroll 1
        for (long long first = blockIdx.x * call.lanes; first < call.slices;
             first += gridDim.x * call.lanes) {
            const long long slice = first + team.lane;
            const bool present = slice < call.slices;
            Place base = place(call.kept, present ? slice : 0);
            base.x += outer.x;
            base.b += outer.b;
            base.y += outer.y;
            const char *x = call.x + base.x;
            char *y = call.y + base.y;
            State<Real> state;
            if (mode & REDUCE) {
                Running<Real> running;
                if (present) {
                    if (layout == CONTIGUOUS)
                        reduce_run<Element>(
                            running, team, x + start * Cut<Element>::ITEM, stop - start
                        );
                    else if (layout == WEIGHTED)
                        reduce_weighted<Real>(running, team, call, base, start, stop);
                    else if (call.inner.count == 1)
                        reduce_strided<Element, true>(running, team, x, call.inner, start, stop);
                    else
                        reduce_strided<Element, false>(running, team, x, call.inner, start, stop);
                }
                state = unite(team, running);
            }
            if (!present) continue;
            if (!(mode & APPLY)) {
                if (team.member > 0) continue;
                const long long at = slice * call.parts + part;
                ((Real *)call.m)[at] = state.m;
                call.w[at] = state.w;
                call.s[at] = state.s;
            } else {
                const Real m = mode & REDUCE ? state.m : ((const Real *)call.m)[slice];
                double d_or_log = mode & REDUCE ? (call.logarithm ? state.log_d() : state.w + state.s)
                                                : call.s[slice];
                const Map<Real> map(m, d_or_log, call.logarithm);
                if (layout == CONTIGUOUS)
                    apply_run<Element>(
                        map,
                        team,
                        x + start * Cut<Element>::ITEM,
                        y + start * sizeof(typename Element::Result::Bits),
                        stop - start
                    );
                else if (call.inner.count == 1)
                    apply_strided<Element, true>(map, team, x, y, call.inner, start, stop);
                else
                    apply_strided<Element, false>(map, team, x, y, call.inner, start, stop);
            }
        }
    }
}

// The states of slices from those of their parts: each is scaled once, straight to the maximum.
template <typename Real> __device__ __forceinline__ void merge(const Merge &call)
{
    const Team team(int(call.team), int(call.lanes), true);
#pragma unroll 1
    for (long long first = blockIdx.x * call.lanes; first < call.slices;
         first += gridDim.x * call.lanes) {
        const long long slice = first + team.lane;
        const long long parts = slice < call.slices ? call.parts : 0;
        const Real *m = (const Real *)call.m + slice * call.parts;
        const double *w = call.w + slice * call.parts, *s = call.s + slice * call.parts;
        Real top = Running<Real>().m;
#pragma unroll 1
        for (long long i = team.member; i < parts; i += team.size) top = larger(top, m[i]);
        top = Real(team.largest(top));
        Sum at_top, rest;
#pragma unroll 1
        for (long long i = team.member; i < parts; i += team.size) {
            const State<Real> state = {m[i], w[i], s[i]};
            const Running<Real> part(state);
            at_top.add(part.weights_at(top).value);
            const Sum below = part.rest_below(top);
            rest.add(below.value);
            rest.error += below.error;
        }
        at_top = team.sum(at_top);
        rest = team.sum(rest);
        if (parts == 0 || team.member > 0) continue;
        const State<Real> state = united(top, at_top, rest);
        ((Real *)call.to_m)[slice] = state.m;
        call.to_w[slice] = state.w;
        call.to_s[slice] = state.s;
    }
}

// What `_cuda_source.py` adds to this file: the one kernel that is asked for.
#define SLICES(name, Element, layout, mode)                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS) name(const __grid_constant__ Call call) \
    {                                                                                             \
        slices<Element, layout, mode>(call);                                                      \
    }
#define MERGE(name, Real)                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS) name(const __grid_constant__ Merge call) \
    {                                                                                              \
        merge<Real>(call);                                                                         \
    }
