// Elements that lie anyhow in memory, alone or beside weights, values or a mask.

// Elements of the dtype that a call names, computed in R: one kernel for many dtypes.
template <typename R> struct Any {
    typedef R Real;
};

// How a tile of elements is loaded, and a result stored.
template <typename Element> struct Access {
    typedef typename Element::Real Real;

    template <int N>
    static __device__ __forceinline__ void load(Real (&to)[N], const char *const (&at)[N], int)
    {
        load_all<Element>(to, at);
    }
    static __device__ __forceinline__ void store(char *to, Real value, int)
    {
        ::store<typename Element::Result>(to, value);
    }
};

template <typename R> struct Access<Any<R>> {
    template <int N>
    static __device__ __forceinline__ void load(R (&to)[N], const char *const (&at)[N], int dtype)
    {
        load_any(to, at, dtype);
    }
    static __device__ __forceinline__ void store(char *to, R value, int dtype)
    {
        store_any(to, value, dtype);
    }
};

// N elements, one in every hop, and where they are.  What is out, by the mask or because there are
// fewer left, is -inf.  In a single loop they are in equal steps, and no index is taken apart.
template <typename Element, bool masked, bool single, int N> struct Tile {
    typedef typename Element::Real Real;
    Place at[single ? 1 : N], step;
    Real x[N];
    bool in[N];

    template <bool full>
    __device__ __forceinline__ void find(
        const Call &call, const Place &base, long long first, int hop, long long left
    )
    {
        at[0] = base + (single ? call.inner.loop[0].at(first) : place(call.inner, first));
        if (single) step = call.inner.loop[0].at(hop);
        in[0] = true;
#pragma unroll
        for (int k = 1; k < N; ++k) {
            in[k] = full || k * hop < left;
            if (!single) at[k] = in[k] ? base + place(call.inner, first + k * hop) : at[0];
        }
    }

    // The address of an element of an array, or of the first if it is not there.
    template <typename Byte>
    __device__ __forceinline__ Byte *address(Byte *array, long long Place::*of, int k) const
    {
        if (!single) return array + at[k].*of;
        return array + at[0].*of + (in[k] ? k * step.*of : 0);
    }

    __device__ __forceinline__ void load(const Call &call)
    {
        const char *x_at[N];
#pragma unroll
        for (int k = 0; k < N; ++k) x_at[k] = address(call.x, &Place::x, k);
        Access<Element>::load(x, x_at, int(call.x_dtype));
        if (masked) {
            char kept[N];
#pragma unroll
            for (int k = 0; k < N; ++k) kept[k] = *address(call.where, &Place::where, k);
#pragma unroll
            for (int k = 0; k < N; ++k) in[k] = in[k] && kept[k];
        }
#pragma unroll
        for (int k = 0; k < N; ++k) x[k] = in[k] ? x[k] : Real(-infinity());
    }

    // What goes with each element, 0 for those that are out.
    __device__ __forceinline__ void load_beside(double (&b)[N], const Call &call) const
    {
        const char *b_at[N];
#pragma unroll
        for (int k = 0; k < N; ++k) b_at[k] = address(call.b, &Place::b, k);
        load_any(b, b_at, int(call.b_dtype));
#pragma unroll
        for (int k = 0; k < N; ++k) b[k] = in[k] ? b[k] : 0;
    }

    template <bool weighted, int kind>
    __device__ __forceinline__ void reduce(Running<Real, kind> &state, const Call &call)
    {
        double b[N];
        load(call);
        if (weighted || kind == VALUES) load_beside(b, call);
        int out = 0;
#pragma unroll
        for (int k = 0; k < N; ++k) out += !in[k];
        if constexpr (weighted)
            state.add(x, b);
        else
            state.add(x, out, b);
    }

    template <bool full, typename Way>
    __device__ __forceinline__ void apply(const Way &map, const Call &call, int hop, long long left)
    {
        load(call);
#pragma unroll
        for (int k = 0; k < N; ++k) x[k] = pick(in[k], map(x[k]), map.of_nothing());
#pragma unroll
        for (int k = 0; k < N; ++k) {
            const long long y_at = single ? at[0].y + k * step.y : at[k].y;
            if (full || k * hop < left)
                Access<Element>::store(call.y + y_at, x[k], int(call.x_dtype));
        }
    }
};

template <bool is> struct Full {
    static const bool value = is;
};

// As many elements as keep enough loads under way, and fit in registers.
template <typename Real> const int AT_A_TIME = sizeof(Real) == 4 ? 8 : 4;

template <bool single, bool masked, typename Element, typename Work>
__device__ __forceinline__ void in_tiles(
    const Team &team, const Call &call, const Place &base, long long start, long long stop, Work work
)
{
    const int N = AT_A_TIME<typename Element::Real>;
    Tile<Element, masked, single, N> tile;
    long long i = start + team.member;
#pragma unroll 1
    for (; i + (N - 1) * team.size < stop; i += N * team.size) {
        tile.template find<true>(call, base, i, team.size, stop - i);
        work(tile, Full<true>(), stop - i);
    }
    if (i < stop) {
        tile.template find<false>(call, base, i, team.size, stop - i);
        work(tile, Full<false>(), stop - i);
    }
}

template <typename Element, bool masked, bool weighted, int kind>
__device__ __forceinline__ void reduce_mixed(
    Running<typename Element::Real, kind> &state, const Team &team, const Call &call,
    const Place &base, long long start, long long stop
)
{
    auto work = [&](auto &tile, auto, long long) {
        tile.template reduce<weighted>(state, call);
    };
    if (call.inner.count == 1)
        in_tiles<true, masked, Element>(team, call, base, start, stop, work);
    else
        in_tiles<false, masked, Element>(team, call, base, start, stop, work);
}

template <typename Element, bool masked, typename Way>
__device__ __forceinline__ void apply_mixed(
    const Way &map, const Team &team, const Call &call, const Place &base, long long start,
    long long stop
)
{
    auto work = [&](auto &tile, auto full, long long left) {
        tile.template apply<decltype(full)::value>(map, call, team.size, left);
    };
    if (call.inner.count == 1)
        in_tiles<true, masked, Element>(team, call, base, start, stop, work);
    else
        in_tiles<false, masked, Element>(team, call, base, start, stop, work);
}
