// Keys of draws without replacement, x plus Gumbel noise, and the k best of them: to the last bit
// those of `gumbel.py`, `philox.py` and `noise.py`, where the reasons are.

// A number whose products are not fused with sums: it is the same on all machines.
struct Plain {
    double value;

    __device__ __forceinline__ Plain(double value) : value(value) {}
};
__device__ __forceinline__ Plain operator+(Plain a, Plain b) { return __dadd_rn(a.value, b.value); }
__device__ __forceinline__ Plain operator-(Plain a, Plain b) { return __dadd_rn(a.value, -b.value); }
__device__ __forceinline__ Plain operator*(Plain a, Plain b) { return __dmul_rn(a.value, b.value); }
__device__ __forceinline__ Plain operator/(Plain a, Plain b) { return __ddiv_rn(a.value, b.value); }

// The natural logarithm of a positive number that is not subnormal, as high + f - small, of which the
// first two are exact.
struct Logarithm {
    Plain high, f, small;

    __device__ __forceinline__ explicit Logarithm(double x) : high(0), f(0), small(0)
    {
        const long long ONE = 0x3ff0000000000000LL, SQRT_HALF = 0x3fe6a09e667f3bcdLL;
        const long long bits = __double_as_longlong(x) + (ONE - SQRT_HALF);
        const Plain k = double(int(bits >> 52) - 1023);
        f = Plain(__longlong_as_double((bits & ((1LL << 52) - 1)) + SQRT_HALF)) - 1.0;
        const Plain z = f / (f + 2.0), z2 = z * z, z4 = z2 * z2;
        const Plain odd = z2 * (Plain(0.6666666666666735) + z4 * (Plain(0.2857142874366239)
                          + z4 * (Plain(0.1818357216161805) + z4 * Plain(0.14798198605116586))));
        const Plain even = z4 * (Plain(0.3999999999940942) + z4 * (Plain(0.22222198432149784)
                           + z4 * Plain(0.15313837699209373)));
        const Plain half = f * f * 0.5;
        small = half - (z * (half + (odd + even)) + k * 1.90821492927058770002e-10);
        high = k * 6.93147180369123816490e-01;
    }

    __device__ __forceinline__ double value() const { return (high - (small - f)).value; }
};

// Philox4x32-10: the four words of a counter.
__device__ __forceinline__ void philox(
    unsigned long long counter, unsigned half, unsigned k0, unsigned k1, unsigned *words
)
{
    unsigned c0 = unsigned(counter), c1 = unsigned(counter >> 32), c2 = 0, c3 = half;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned long long p0 = 0xd2511f53ull * c0, p1 = 0xcd9e8d57ull * c2;
        c0 = unsigned(p1 >> 32) ^ c1 ^ k0;
        c2 = unsigned(p0 >> 32) ^ c3 ^ k1;
        c1 = unsigned(p1);
        c3 = unsigned(p0);
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

// The fourth word of the counters of low words.
const unsigned LOW_WORDS = 1u << 31;

// The words of N indices that follow one another: high ones, which nearly always suffice, or low
// ones. Four indices share a counter. Nothing is indexed by a variable: that would be in memory.
template <int N> __device__ __forceinline__ void random_words(
    long long index, unsigned half, long long key_0, long long key_1, unsigned (&words)[N]
)
{
    const int COUNTERS = (N + 6) / 4;
    unsigned all[4 * COUNTERS] = {};
#pragma unroll
    for (int i = 0; i < COUNTERS; ++i) {
        if (4 * i < (index & 3) + N)
            philox((index >> 2) + i, half, unsigned(key_0), unsigned(key_1), all + 4 * i);
    }
    const bool odd = index & 1, upper = index & 2;
#pragma unroll
    for (int i = 0; i <= N; ++i) all[i] = upper ? all[i + 2] : all[i];
#pragma unroll
    for (int i = 0; i < N; ++i) words[i] = odd ? all[i + 1] : all[i];
}

// The 53 bits of two words.
__device__ __forceinline__ long long joined(unsigned high, unsigned low)
{
    return (long long)high << 21 | low >> 11;
}

__device__ __forceinline__ double gumbel_noise(long long bits)
{
    const double exponential = -Logarithm(double((1LL << 53) - bits) * 0x1p-53).value();
    return -Logarithm(bits ? exponential : 0x1p-54).value();
}

// What the bits of an element are below if its key may exceed the least of the best; or NaN. The
// exponential is a float's, and the margin for that is 2^-10.
__device__ __forceinline__ double bits_below(double x, double least)
{
    const double size = x > -infinity() ? fabs(x) : 0;  // which is below any that is finite
    const double margin = 0x1p-10 + 0x1p-50 * (fabs(least) + size);
    return double(expf(float(x - least + margin))) * 0x1p53 + 1;
}

// The keys of a block of any layout.
struct Keys {
    const char *x, *where;
    char *y;
    long long x_dtype, count, first, key_0, key_1;
    Loops loops;  // b of which are indices in the whole array
};

__device__ __forceinline__ void noisy_keys(const Keys &call)
{
    const long long step = (long long)gridDim.x * THREADS;
#pragma unroll 1
    for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < call.count; i += step) {
        const Place at = place(call.loops, i);
        const char *const from[1] = {call.x + at.x};
        double x[1];
        load_any(x, from, int(call.x_dtype));
        if (call.where && !call.where[at.where]) x[0] = -infinity();
        unsigned high[1], low[1];
        random_words(call.first + at.b, 0, call.key_0, call.key_1, high);
        random_words(call.first + at.b, LOW_WORDS, call.key_0, call.key_1, low);
        *(double *)(call.y + at.y) = x[0] + gumbel_noise(joined(high[0], low[0]));
    }
}

// Rows that run along memory, with indices that follow one another.
struct Draws {
    const char *x;
    double *keys;
    long long *indices;
    unsigned long long *part_orders;  // of each row, and of each rank of its parts side by side
    long long *part_indices;
    long long rows, length, stride;  // from row to row in bytes
    long long k, parts, portion;
    long long first, step, key_0, key_1;  // the index of the first element, and from row to row

    __device__ __forceinline__ void put(
        long long row, long long rank, long long index, unsigned long long order
    ) const
    {
        keys[row * k + rank] = Ordered<double>::inverse(order);
        indices[row * k + rank] = index;
    }
};

// The k best of a part; of a row if that has one part.
template <typename Element> __device__ __forceinline__ void best_draws(const Draws &call)
{
    typedef typename Element::Real Real;
    typedef typename Element::Bits Bits;
    typedef Pieces<Element, TOPK_THREADS> Run;
    typedef unsigned long long Order;
    const int EACH = Run::N, thread = threadIdx.x;
    const long long row = blockIdx.x / call.parts, part = blockIdx.x - row * call.parts;
    const long long start = part * call.portion;
    const long long first_of_part = call.first + row * call.step + start;
    const int length = int(shortest(call.portion, call.length - start));
    const Run run(call.x + row * call.stride + start * (long long)sizeof(Bits), length);
    const int pieces = run.count();
    CANDIDATES(candidates, Order, int, EACH, call.k);
    const auto load = [&](int tile) {
        return run.any(tile + thread, Element::encode(Real(-infinity())));
    };
    Piece next = load(0);
#pragma unroll 1
    for (int tile = 0; tile < pieces; tile += TOPK_THREADS) {
        Real x[EACH];
#pragma unroll
        for (int i = 0; i < EACH; ++i) x[i] = Element::decode(taken<Bits>(next, i));
        if (tile + TOPK_THREADS < pieces) next = load(tile + TOPK_THREADS);
        const auto index_of = [&](int i) { return run.index(tile, thread, i); };
        unsigned high[EACH], smallest = ~0u;
        random_words(first_of_part + index_of(0), 0, call.key_0, call.key_1, high);
        bool nan = false;
        Real top = x[0];
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            smallest = high[i] < smallest ? high[i] : smallest;
            top = larger(top, x[i]);
            nan = nan || x[i] != x[i];
        }
        const double least = Ordered<double>::inverse(candidates.limit.order);
        const bool may_be = nan || !(double(joined(smallest, 0)) >= bits_below(top, least));
        if (__syncthreads_count(may_be) == 0) continue;
        Order orders[EACH];
        unsigned low[EACH] = {};
        if (may_be)
            random_words(first_of_part + index_of(0), LOW_WORDS, call.key_0, call.key_1, low);
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            orders[i] = 0;
            if (may_be && run.has(index_of(i))) {
                const double noise = gumbel_noise(joined(high[i], low[i]));
                orders[i] = ordered(double(x[i]) + noise, ~Order(0));
            }
        }
        const int first = run.index(tile, 0, 0);
        candidates.add(
            may_be,
            first < 0 ? 0 : first,
            int(shortest(first + TOPK_THREADS * EACH, length)),
            [&](int i) { return orders[i]; },
            index_of
        );
    }
    const auto place = [&](int rank) { return (row * call.k + rank) * call.parts + part; };
    if (call.parts > 1 && length < call.k && thread < call.k) call.part_orders[place(thread)] = 0;
    candidates.best(length, [&](int rank, Order order, int index) {
        if (call.parts == 1) {
            call.put(row, rank, index, order);
        } else {
            call.part_orders[place(rank)] = order;
            call.part_indices[place(rank)] = start + index;
        }
    });
}

// The k best of a row from those of its parts, the best of all parts first.
__device__ __forceinline__ void best_draws_of_parts(const Draws &call)
{
    typedef unsigned long long Order;
    const int EACH = 4;
    const long long row = blockIdx.x, count = call.parts * call.k;
    const Order *const given = call.part_orders + row * count;
    const long long *const indices = call.part_indices + row * count;
    CANDIDATES(candidates, Order, long long, EACH, call.k);
#pragma unroll 1
    for (long long tile = 0; tile < count; tile += EACH * TOPK_THREADS) {
        const auto place = [&](int i) { return tile + i * TOPK_THREADS + threadIdx.x; };
        const auto order_of = [&](int i) { return place(i) < count ? given[place(i)] : Order(0); };
        Order most = 0;
#pragma unroll
        for (int i = 0; i < EACH; ++i) most = order_of(i) > most ? order_of(i) : most;
        candidates.add(most >= candidates.limit.order, 0, call.length, order_of, [&](int i) {
            return order_of(i) > 0 ? indices[place(i)] : candidates.LAST;
        });
    }
    candidates.best(call.length, [&](int rank, Order order, long long index) {
        call.put(row, rank, index, order);
    });
}

#define KEYS(name)                                                                                \
    extern "C" __global__ void __launch_bounds__(THREADS, 4) name(const __grid_constant__ Keys call) \
    {                                                                                             \
        noisy_keys(call);                                                                               \
    }
#define DRAWS_PART(name, Element)                                                                 \
    TOPK_KERNEL(name, Draws, sizeof(Element::Bits) == 2 ? 2 : 3, best_draws<Element>)
#define DRAWS_MERGE(name) TOPK_KERNEL(name, Draws, 4, best_draws_of_parts)
