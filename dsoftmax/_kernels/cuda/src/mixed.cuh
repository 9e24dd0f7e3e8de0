// Elements of any dtype, beside weights, values or a mask: one kernel for all dtypes.

template <typename Real>
__device__ __forceinline__ void reduce_weighted(
    Running<Real> &state, const Team &team, const Call &call, Place base, long long start,
    long long stop
)
{
#pragma unroll 1
    for (long long i = start + team.member; i < stop; i += team.size) {
        const Place place_of = base + place(call.inner, i);
        const char *const x_at[1] = {call.x + place_of.x}, *const b_at[1] = {call.b + place_of.b};
        Real x[1];
        double b[1];
        load_any(x, x_at, int(call.x_dtype));
        load_any(b, b_at, int(call.b_dtype));
        state.add(x[0], b[0]);
    }
}

// N elements, one in every hop, as they are loaded: what is out is -inf, and its value 0.
template <typename Real, int kind, int N> struct Tile {
    Place at[N];
    Real x[N];
    double v[N];
    unsigned in;  // a bit for each

    __device__ __forceinline__ Tile(const Call &call, Place base, long long first, int hop) : in(0)
    {
        const char *x_at[N], *v_at[N];
#pragma unroll
        for (int k = 0; k < N; ++k) {
            at[k] = base + place(call.inner, first + k * hop);
            x_at[k] = call.x + at[k].x;
            v_at[k] = call.b + at[k].b;
        }
        load_any(x, x_at, int(call.x_dtype));
        if (kind == VALUES) load_any(v, v_at, int(call.b_dtype));
#pragma unroll
        for (int k = 0; k < N; ++k) {
            const bool is_in = !call.where || call.where[at[k].where];
            in |= unsigned(is_in) << k;
            if (!is_in) x[k] = Real(-infinity());
            if (!is_in) v[k] = 0;
        }
    }

    __device__ __forceinline__ void reduce(Running<Real, kind> &state) const
    {
        state.add(x, in, v);
    }

    __device__ __forceinline__ void apply(const Call &call, const Map<Real> &map) const
    {
#pragma unroll
        for (int k = 0; k < N; ++k)
            store_any(
                call.y + at[k].y, in >> k & 1 ? map(x[k]) : map.of_nothing(), int(call.x_dtype)
            );
    }
};

enum { MIXED_TILE = 4 };  // enough loads under way at a time

template <typename Real, int kind>
__device__ __forceinline__ void reduce_mixed(
    Running<Real, kind> &state, const Team &team, const Call &call, Place base, long long start,
    long long stop
)
{
    long long i = start + team.member;
#pragma unroll 1
    for (; i + (MIXED_TILE - 1) * team.size < stop; i += MIXED_TILE * team.size)
        Tile<Real, kind, MIXED_TILE>(call, base, i, team.size).reduce(state);
#pragma unroll 1
    for (; i < stop; i += team.size) Tile<Real, kind, 1>(call, base, i, team.size).reduce(state);
}

template <typename Real>
__device__ __forceinline__ void apply_mixed(
    const Map<Real> &map, const Team &team, const Call &call, Place base, long long start,
    long long stop
)
{
    long long i = start + team.member;
#pragma unroll 1
    for (; i + (MIXED_TILE - 1) * team.size < stop; i += MIXED_TILE * team.size)
        Tile<Real, PLAIN, MIXED_TILE>(call, base, i, team.size).apply(call, map);
#pragma unroll 1
    for (; i < stop; i += team.size) Tile<Real, PLAIN, 1>(call, base, i, team.size).apply(call, map);
}
