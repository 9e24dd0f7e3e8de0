// The kernels: from blocks of any layout to states, and from states to results.

// What to do with a slice, as in `modes.py`: take its state, or map it to the result, or both.
enum { REDUCE = 1, APPLY = 2 };

// How the elements of a part lie: one after the other, or anyhow; and then with a mask or weights.
enum { CONTIGUOUS = 0, STRIDED = 1, MASKED = 2, WEIGHTED = 3 };

// The state of what the members of a team have, who agree on m.
template <typename Real, int kind>
__device__ __forceinline__ State<Real> summed(const Team &team, Running<Real, kind> part)
{
    part.w = team.sum(part.w);
    part.s = team.sum(part.s);
    if (kind != PLAIN) part.t = team.sum(part.t);
    if (kind == MOMENTS) part.q = team.sum(part.q);
    return part.state();
}

template <typename Real, int kind>
__device__ __forceinline__ State<Real> unite(const Team &team, Running<Real, kind> part)
{
    part.move(Real(team.largest(part.m)));
    return summed(team, part);
}

// All threads of a block take the same number of turns, for they wait for one another in `Team`.
template <typename Element, int layout, int mode, int kind>
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
            const Place base = place(call.kept, present ? slice : 0) + outer;
            State<Real> state;
            if constexpr (mode & REDUCE) {
                Running<Real, kind> running;
                if (present) {
                    if constexpr (layout == CONTIGUOUS)
                        reduce_run<Element>(
                            running,
                            team,
                            call.x + base.x + start * Cut<Element>::ITEM,
                            stop - start
                        );
                    else
                        reduce_mixed<Element, layout == MASKED, layout == WEIGHTED>(
                            running, team, call, base, start, stop
                        );
                }
                state = unite(team, running);
            }
            if (!present) continue;
            if constexpr (!(mode & APPLY)) {
                if (team.member > 0) continue;
                call.states.put<Real, kind>(slice * call.parts + part, state);
            } else {
                double d_or_log;
                if constexpr (mode & REDUCE) {
                    d_or_log = call.logarithm ? state.log_d() : state.w + state.s;
                } else {
                    state.m = ((const Real *)call.states.m)[slice];
                    d_or_log = call.states.s[slice];
                }
                const Map<Real> map(state.m, d_or_log, call.logarithm);
                map.choose([&](auto way) {
                    if constexpr (layout == CONTIGUOUS)
                        apply_run<Element>(
                            way,
                            team,
                            call.x + base.x + start * Cut<Element>::ITEM,
                            call.y + base.y + start * sizeof(typename Element::Result::Bits),
                            stop - start
                        );
                    else
                        apply_mixed<Element, layout == MASKED>(way, team, call, base, start, stop);
                });
            }
        }
    }
}

// The states of slices from those of their parts: each is scaled once, straight to the maximum.
template <typename Real, int kind> __device__ __forceinline__ void merge(const Merge &call)
{
    const Team team(int(call.team), int(call.lanes), true);
#pragma unroll 1
    for (long long first = blockIdx.x * call.lanes; first < call.slices;
         first += gridDim.x * call.lanes) {
        const long long slice = first + team.lane;
        const long long parts = slice < call.slices ? call.parts : 0;
        const long long start = slice * call.parts;
        const Real *m = (const Real *)call.from.m + start;
        Real top = Running<Real>().m;
#pragma unroll 1
        for (long long i = team.member; i < parts; i += team.size) top = larger(top, m[i]);
        Running<Real, kind> whole(Real(team.largest(top)));
#pragma unroll 1
        for (long long i = team.member; i < parts; i += team.size)
            whole.add(Running<Real, kind>(call.from.get<Real, kind>(start + i)));
        const State<Real> state = summed(team, whole);
        if (parts > 0 && team.member == 0) call.to.put<Real, kind>(slice, state);
    }
}

// What `source.py` adds to this file: the one kernel that is asked for.
#define SLICES(name, Element, layout, mode, kind)                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS, 2)                                          \
        name(const __grid_constant__ Call call)                                                   \
    {                                                                                             \
        slices<Element, layout, mode, kind>(call);                                                \
    }
#define MERGE(name, Real, kind)                                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS) name(const __grid_constant__ Merge call) \
    {                                                                                              \
        merge<Real, kind>(call);                                                                   \
    }
