// The k best of what the threads of a block come by, tile after tile.
//
// A block keeps the candidates it has found and a limit, beyond which no element can be among the k
// best: one that at least k others do not exceed.  A tile of elements is compared with it, and
// almost always no thread has anything to add.  Where many threads have, as in rows that ascend,
// the limit is moved first, so that few of them have: at most `most` threads add to the candidates,
// whatever the data, and these never overflow.  Nothing is read twice.

enum { TOPK_THREADS = 256 };
enum { MOST_K = 64 };

template <typename Order, typename Index> struct Limit {
    Order order;
    Index index;

    __device__ __forceinline__ bool holds(Order o, Index i) const
    {
        return o > order || (o == order && i <= index);
    }
};

// Of which a thread has EACH in a tile.
template <typename Order, typename Index, int EACH> struct Candidates {
    typedef ::Limit<Order, Index> Limit;
    static constexpr Index LAST = Index(~0ull >> (65 - 8 * sizeof(Index)));
    // Pruned to `most` before a tile that may add what `most` threads have.
    enum { MOST = MOST_K + MOST_K / 4 + 2, FULL = 2 * MOST, SPACE = FULL + MOST * EACH };

    Order (&orders)[SPACE];
    Index (&indices)[SPACE];
    unsigned &filled;
    const int k, most, often;
    int at_most;  // candidates
    Limit limit;

    __device__ __forceinline__ Candidates(
        Order (&orders)[SPACE], Index (&indices)[SPACE], unsigned &filled, int k
    )
        : orders(orders), indices(indices), filled(filled), k(k), most(k + k / 4 + 2), often(2 * most), at_most(0), limit{1, LAST}
    {
        if (threadIdx.x == 0) filled = 0;
        __syncthreads();
    }

    // The largest of all threads.
    static __device__ __forceinline__ Order largest(Order own)
    {
        __shared__ Order of_warps[TOPK_THREADS / 32];
#pragma unroll
        for (int hop = 16; hop > 0; hop /= 2) {
            const Order other = __shfl_xor_sync(ALL_LANES, own, hop);
            own = other > own ? other : own;
        }
        if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = own;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < TOPK_THREADS / 32; ++i) own = of_warps[i] > own ? of_warps[i] : own;
        return own;
    }

    // Move the limit so that k to `most` are within, of more.  All threads call this, with the
    // largest order that any has and a function that tells all of them how many a limit has; where
    // these are tied, it is their indices that are divided, which are from first on and below stop.
    //
    // The limit is near the largest: a quarter of a power of two below it at first, then ever
    // farther, until there are enough.
    template <typename Count>
    __device__ __forceinline__ void tighten(Order high, Index first, Index stop, Count count)
    {
        Order low = limit.order, below = Order(1) << (sizeof(Order) == 4 ? 21 : 50);
#pragma unroll 1
        while (low < high) {
            const bool near = below > 0 && high - low > below;
            const Order middle = near ? high - below : low + (high - low) / 2 + 1;
            const int n = count(Limit{middle, LAST});
            if (n < k) {
                high = middle - 1;
                below *= 4;
                continue;
            }
            low = middle;
            below = 0;
            limit = {low, stop - 1};
            if (n <= most) return;
        }
        Index last = limit.index < stop - 1 ? limit.index : stop - 1;  // k are within
#pragma unroll 1
        while (first < last) {
            const Index middle = first + (last - first) / 2;
            const int n = count(Limit{low, middle});
            if (n < k)
                first = middle + 1;
            else
                last = middle;
            if (n >= k && n <= most) break;
        }
        limit = {low, last};
    }

    // A tile: the orders and indices of elements, whether one of the thread may be within the limit,
    // and the range of all indices.  All threads call this.
    template <typename OrderOf, typename IndexOf>
    __device__ __forceinline__ void add(
        bool may_be, Index first, Index stop, OrderOf order_of, IndexOf index_of
    )
    {
        int threads = __syncthreads_count(may_be);
        if (threads == 0) return;
        if (threads > most) {
            Order own = 0;
            Index at = LAST;
#pragma unroll
            for (int i = 0; i < EACH; ++i) {
                const Order order = order_of(i);
                const Index index = index_of(i);
                if (order > own || (order == own && index < at)) own = order, at = index;
            }
            if (__syncthreads_count(limit.holds(own, at)) > most)
                tighten(largest(own), first, stop, [&](Limit to) {
                    return __syncthreads_count(to.holds(own, at));
                });
            may_be = limit.holds(own, at);
            threads = most;
        }
        if (at_most + threads * EACH > SPACE) {  // there may not be room for as many
            const unsigned n = filled;
            __syncthreads();
            if (n > unsigned(often)) prune(stop);
            at_most = n > unsigned(often) ? most : int(n);
        }
        at_most += threads * EACH;
        if (!may_be) return;
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            const Order order = order_of(i);
            const Index index = index_of(i);
            if (!limit.holds(order, index)) continue;
            const unsigned place = atomicAdd(&filled, 1u);
            orders[place] = order;
            indices[place] = index;
        }
    }

    // Only what is within a limit of k to `most` candidates remains.  All threads call this, after
    // a barrier.
    __device__ __forceinline__ void prune(Index stop)
    {
        const int n = int(filled);
        const auto holds = [&](Limit to, int i) {
            return i < n && to.holds(orders[i], indices[i]);
        };
        if (n > most) {
            Order own = 0;
#pragma unroll 1
            for (int i = threadIdx.x; i < n; i += TOPK_THREADS)
                own = orders[i] > own ? orders[i] : own;
            tighten(largest(own), 0, stop, [&](Limit to) {
                int within = 0;
#pragma unroll 1
                for (int i = 0; i < n; i += TOPK_THREADS)
                    within += __syncthreads_count(holds(to, i + threadIdx.x));
                return within;
            });
        }
        __syncthreads();
        if (threadIdx.x == 0) filled = 0;
#pragma unroll 1
        for (int i = threadIdx.x; i - threadIdx.x < n; i += TOPK_THREADS) {
            const bool within = holds(limit, i);
            const Order order = within ? orders[i] : 0;
            const Index index = within ? indices[i] : 0;
            __syncthreads();  // places up to i are free now
            if (!within) continue;
            const unsigned place = atomicAdd(&filled, 1u);
            orders[place] = order;
            indices[place] = index;
        }
        __syncthreads();
    }

    // The k best, with their ranks: `found(rank, order, index)` by some of the threads.
    template <typename Found>
    __device__ __forceinline__ void best(Index stop, Found found)
    {
        __syncthreads();
        if (filled > MOST) prune(stop);
        const int n = int(filled);
        if (int(threadIdx.x) >= n) return;
        const Order order = orders[threadIdx.x];
        const Index index = indices[threadIdx.x];
        int rank = 0;
#pragma unroll 4
        for (int i = 0; i < n; ++i)
            rank += orders[i] > order || (orders[i] == order && indices[i] < index);
        if (rank < k) found(rank, order, index);
    }
};

#define CANDIDATES(name, Order, Index, EACH, k)      \
    typedef Candidates<Order, Index, EACH> Found;    \
    __shared__ Order shared_orders[Found::SPACE];    \
    __shared__ Index shared_indices[Found::SPACE];   \
    __shared__ unsigned filled;                      \
    Found name(shared_orders, shared_indices, filled, int(k))
