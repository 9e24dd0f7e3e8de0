// What a kernel is told, and which thread takes what.
//
// A team of threads takes a part of a slice; a thread block is as many teams as it has lanes, which
// work on slices side by side.  Which threads are neighbours, and so share what is fetched of
// memory, is up to the call: those of a team where slices run along memory, the lanes where they
// run across it.  How slices are cut and teams are made is decided in `plan.py`.

// Only loops over the elements of a tile are unrolled: the others would take registers for nothing.

const int THREADS = 256;  // of a block, at most

// Distances in bytes from the beginning of each array.
struct Place {
    long long x, b, y, where;

    __device__ __forceinline__ Place operator+(const Place &other) const
    {
        return {x + other.x, b + other.b, y + other.y, where + other.where};
    }
};

// Axes that are walked as one, with the distances of their elements.
struct Loop {
    long long length, x, b, y, where;

    __device__ __forceinline__ Place at(long long index) const
    {
        return {index * x, index * b, index * y, index * where};
    }
};

// Nested, the fastest last.
struct Loops {
    long long count;
    Loop loop[8];
};

// Arrays of the fields of states; those that a kind of state has not are absent.
struct Fields {
    void *m;
    double *w, *s, *t, *q;

    template <typename Real, int kind>
    __device__ __forceinline__ State<Real> get(long long i) const
    {
        return {
            ((const Real *)m)[i], w[i], s[i], kind != PLAIN ? t[i] : 0, kind == MOMENTS ? q[i] : 0
        };
    }

    template <typename Real, int kind>
    __device__ __forceinline__ void put(long long i, const State<Real> &state) const
    {
        ((Real *)m)[i] = state.m;
        w[i] = state.w;
        s[i] = state.s;
        if (kind != PLAIN) t[i] = state.t;
        if (kind == MOMENTS) q[i] = state.q;
    }
};

// All fields have eight bytes, so that Python need not know how C++ aligns them.
struct Call {
    const char *x, *b;  // b are weights, or values
    char *y;
    const char *where;  // bytes, 0 where an element is out; or absent
    Fields states;      // with APPLY alone s is d or log d, one for each slice
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
    Fields from, to;  // the states of the parts of each slice, and those of the slices
    long long slices, parts, lanes, team;
};

__device__ __forceinline__ Place place(const Loops &loops, unsigned long long index)
{
    Place at = {0, 0, 0, 0};
#pragma unroll 1
    for (int i = int(loops.count) - 1; i >= 0; --i) {
        const Loop &loop = loops.loop[i];
        unsigned long long step = index, length = loop.length;
        if (i > 0) {  // a division of 64 bits takes several times as long as one of 32
            index = (index | length) >> 32 ? index / length : unsigned(index) / unsigned(length);
            step -= index * length;
        }
        at = at + loop.at(step);
    }
    return at;
}

__device__ __forceinline__ long long shortest(long long a, long long b) { return a < b ? a : b; }

// Where a thread is in its block.  Teams whose members are adjacent have powers of two of them.
struct Team {
    int size, lane, member;
    bool adjacent;

    __device__ __forceinline__ Team(int size, int lanes, bool members_adjacent)
        : size(size), adjacent(members_adjacent)
    {
        int thread = threadIdx.x;
        member = adjacent ? thread % size : thread / lanes;
        lane = adjacent ? thread / size : thread % lanes;
    }

    // What becomes of the numbers of all members; all threads of the block have to come here.
    // Members of a warp exchange theirs; of what is left, the last few are read by everyone.
    template <typename Number, typename Merge>
    __device__ __forceinline__ Number together(Number own, Merge merge) const
    {
        __shared__ double table[THREADS * sizeof(Number) / sizeof(double)];
        int left = size, hop = 1;
        if (adjacent) {
#pragma unroll 1
            for (; hop < size && hop < 32; hop *= 2, left /= 2)
                own = merge(own, exchanged(own, hop));
        } else {
            hop = blockDim.x / size;
        }
        if (left == 1) return own;
        Number *const mine = (Number *)table + threadIdx.x;
        Number *const first = mine - member * (adjacent ? 1 : hop);
        *mine = own;
#pragma unroll 1
        for (; left > 8; left /= 2) {  // not of adjacent members
            __syncthreads();
            if (member < left / 2) *mine = own = merge(own, mine[left / 2 * hop]);
        }
        __syncthreads();
        own = *first;
#pragma unroll 1
        for (int i = 1; i < left; ++i) own = merge(own, first[i * hop]);
        __syncthreads();
        return own;
    }

    __device__ __forceinline__ double largest(double number) const
    {
        return together(number, [](double a, double b) { return larger(a, b); });
    }

    __device__ __forceinline__ Sum sum(Sum part) const
    {
        return together(part, [](Sum a, const Sum &b) {
            a.add(b);
            return a;
        });
    }

    __device__ __forceinline__ long long sum(long long number) const
    {
        return together(number, [](long long a, long long b) { return a + b; });
    }

private:
    template <typename Number>
    static __device__ __forceinline__ Number exchanged(Number number, int hop)
    {
        const unsigned beyond = blockDim.x - threadIdx.x / 32 * 32;  // threads from this warp on
        return __shfl_xor_sync(beyond < 32 ? (1u << beyond) - 1 : 0xffffffffu, number, hop);
    }
    static __device__ __forceinline__ Sum exchanged(const Sum &sum, int hop)
    {
        return Sum(exchanged(sum.value, hop), exchanged(sum.error, hop));
    }
};
