// Slices across memory: the columns of a table without gaps.
//
// A narrow table is taken as a wide one, whose rows are `count` of its own: so a warp accesses whole
// lines of memory.  What is left at the end is a last row that is shorter.

// The state of the elements of a column that a thread has met.  One vote tells that no column of a
// warp has something at or above its maximum; otherwise the whole warp selects, without a branch.
template <typename Real> struct OfColumn {
    Real m, reference;
    unsigned w;  // of the rows of a block
    Sum s;

    __device__ __forceinline__ OfColumn()
        : m(Real(-infinity())), reference(Real(-infinity())), w(0), s(0, 0)
    {
    }

    // Eight at a time, for their exponentials to have registers.
    template <int N, typename Term>
    static __device__ __forceinline__ double sum(Term term)
    {
        double sum = 0;
#pragma unroll
        for (int from = 0; from < N; from += 8) {
            const int HERE = N < 8 ? N : 8;
            double terms[HERE];
#pragma unroll
            for (int i = 0; i < HERE; ++i) terms[i] = term(from + i);
            sum += pairwise<HERE>(terms);
        }
        return sum;
    }

    template <int N> __device__ __forceinline__ void add(const Real (&x)[N])
    {
        const Real top = top_of<N>(x);
        if (!__any_sync(ALL_LANES, !(top < m))) {
            s.add(sum<N>([&](int i) { return exponential(x[i] - reference); }));
            return;
        }
        if (!(top <= reference + Real(1))) {  // or NaN, which stays
            if (s.value != 0) s.scale(exp(double(reference) - double(top)));
            reference = top;
        }
        const Real origin = reference == Real(-infinity()) ? Real(0) : reference;
        float at_top = 0;
        const double rest =
            sum<N>([&](int i) { return take(exponential(x[i] - origin), x[i], top, at_top); });
        // Of the two maxima the lower one joins the rest with all that is there.
        const unsigned count = unsigned(at_top), at_lower = top < m ? count : top > m ? w : 0;
        const Real lower = top < m ? top : m;
        const double joins = at_lower ? at_lower * double(exponential(lower - origin)) : 0;
        s.add(joins + rest);
        w = top > m ? count : top == m ? w + count : w;
        m = top_of(m, top);
    }

    __device__ __forceinline__ State<Real> state() const
    {
        double rest = s.total();
        if (reference != m && rest != 0) rest *= exp(double(reference) - double(m));
        return {m, m == m ? double(w) : 0, rest, 0, 0};
    }
};

// A few elements side by side, as one access if they are as large as one.
template <typename Element, int N>
__device__ __forceinline__ void load_some(typename Element::Real *to, const char *from)
{
    typedef typename Element::Bits Bits;
    const int BYTES = N * sizeof(Bits);
    union {
        typename Word<BYTES>::Type word;
        Bits element[N];
    } some;
    some.word = *(const typename Word<BYTES>::Type *)from;
#pragma unroll
    for (int k = 0; k < N; ++k) to[k] = Element::decode(some.element[k]);
}

enum { COLUMN_THREADS = 256 };

// The states of parts of columns: of `gives` rows of the wide table for each block, the last of
// which may be short.  Column c has its parts one after the other, those of the wide table that are
// c for each part of rows.
template <typename Element, int EACH, int ROWS_AT_ONCE>
__device__ __forceinline__ void columns(const Rows &call)
{
    typedef typename Element::Real Real;
    const int ITEM = sizeof(typename Element::Bits);
    const long long wide = call.rows * call.count, size = call.rows * call.length;
    const long long column = ((long long)blockIdx.x * COLUMN_THREADS + threadIdx.x) * EACH;
    const bool present = column < wide;
    const long long whole = size / wide, end = shortest((blockIdx.y + 1) * call.gives, whole);
    const char *x = call.x + (blockIdx.y * call.gives * wide + (present ? column : 0)) * ITEM;
    const long long step = wide * ITEM;
    OfColumn<Real> states[EACH];
    int left = int(end - blockIdx.y * call.gives);  // of rows; there may be none, or less
#pragma unroll 1
    for (; left >= ROWS_AT_ONCE; left -= ROWS_AT_ONCE, x += ROWS_AT_ONCE * step) {
        Real v[ROWS_AT_ONCE][EACH];
#pragma unroll
        for (int i = 0; i < ROWS_AT_ONCE; ++i) load_some<Element, EACH>(v[i], x + i * step);
#pragma unroll
        for (int k = 0; k < EACH; ++k) {
            Real own[ROWS_AT_ONCE];
#pragma unroll
            for (int i = 0; i < ROWS_AT_ONCE; ++i) own[i] = v[i][k];
            states[k].add(own);
        }
    }
#pragma unroll 1
    for (; left > 0; --left, x += step) {
        Real v[EACH];
        load_some<Element, EACH>(v, x);
#pragma unroll
        for (int k = 0; k < EACH; ++k) {
            const Real own[1] = {v[k]};
            states[k].add(own);
        }
    }
    if (blockIdx.y == gridDim.y - 1) {
#pragma unroll
        for (int k = 0; k < EACH; ++k) {
            const long long index = whole * wide + column + k;
            const bool in = present && index < size;
            const Real own[1] = {in ? load<Element>(call.x + index * ITEM) : Real(-infinity())};
            states[k].add(own);
            if (!in && states[k].m == Real(-infinity())) states[k].w -= 1;  // it is none of them
        }
    }
    if (gridDim.x == 1 && call.count > 1) {  // all that is of a column is here
        __shared__ Part parts[COLUMN_THREADS * EACH];
#pragma unroll
        for (int k = 0; k < EACH; ++k) {
            const State<Real> state = states[k].state();
            parts[threadIdx.x * EACH + k] = {double(state.m), state.w, state.s};
        }
        __syncthreads();
#pragma unroll 1
        for (int j = threadIdx.x / WARP; j < call.rows; j += COLUMN_THREADS / WARP) {
            const Part of_all = Parts{parts + j, int(call.count), int(call.rows)}.merged();
            if (threadIdx.x % WARP == 0)
                call.states.put<Real, PLAIN>(
                    (long long)j * gridDim.y + blockIdx.y,
                    State<Real>{Real(of_all.m), of_all.w, of_all.s, 0, 0}
                );
        }
        return;
    }
    if (!present) return;
#pragma unroll
    for (int k = 0; k < EACH; ++k) {
        const long long of = (column + k) % call.rows, turn = (column + k) / call.rows;
        call.states.put<Real, PLAIN>(
            (of * gridDim.y + blockIdx.y) * call.count + turn, states[k].state()
        );
    }
}

// Results of columns whose states are known: a thread takes a piece of ROWS_AT_ONCE rows of the wide
// table, which are a multiple of a piece long, and keeps what it needs of the states.
template <typename Element, int output, int ROWS_AT_ONCE>
__device__ __forceinline__ void apply_columns(const Rows &call)
{
    typedef typename Element::Real Real;
    typedef typename Element::Bits Bits;
    const int N = sizeof(Piece) / sizeof(Bits);
    const long long wide = call.rows * call.count / N, size = call.rows * call.length;
    const long long place = (long long)blockIdx.x * COLUMN_THREADS + threadIdx.x;
    if (place >= wide) return;
    Real m[N], factor[N];
    bool common = true;
#pragma unroll
    for (int k = 0; k < N; ++k) {
        const Applied<Element, output> applied(call, (place * N + k) % call.rows);
        m[k] = applied.m;
        factor[k] = applied.factor;
        common &= applied.common;
    }
    const Piece *x = (const Piece *)call.x + place;
    Bits *y = (Bits *)call.y;
#pragma unroll 1
    for (long long row = (long long)blockIdx.y * ROWS_AT_ONCE; row * wide * N < size;
         row += (long long)gridDim.y * ROWS_AT_ONCE) {
        Piece loaded[ROWS_AT_ONCE];  // all, before one is stored, so that they do not wait
#pragma unroll
        for (int i = 0; i < ROWS_AT_ONCE; ++i)
            if (((row + i) * wide + place) * N < size) loaded[i] = read_piece(x + (row + i) * wide);
#pragma unroll
        for (int i = 0; i < ROWS_AT_ONCE; ++i) {
            const long long start = ((row + i) * wide + place) * N;
            if (start >= size) return;
            Real v[N];
            unpack<Element>(v, loaded[i]);
            if (common) {
#pragma unroll
                for (int k = 0; k < N; ++k)
                    v[k] = output == SOFTMAX ? exponential(v[k] - m[k]) * factor[k]
                                             : (v[k] - m[k]) - factor[k];
            } else {
#pragma unroll
                for (int k = 0; k < N; ++k)
                    v[k] = Applied<Element, output>(call, (start + k) % call.rows).slowly(v[k]);
            }
            put_piece<Element, false>(y, v, start, size);  // 92%, and 84 with streaming
        }
    }
}

#define COLUMNS(name, Element, EACH, ROWS_AT_ONCE, BLOCKS)                             \
    extern "C" __global__ void __launch_bounds__(COLUMN_THREADS, BLOCKS)               \
        name(const __grid_constant__ Rows call)                                        \
    {                                                                                  \
        columns<Element, EACH, ROWS_AT_ONCE>(call);                                    \
    }
#define APPLY_COLUMNS(name, Element, output, ROWS_AT_ONCE)                             \
    extern "C" __global__ void __launch_bounds__(COLUMN_THREADS, sizeof(Element::Bits) == 4 ? 4 : 3)  \
        name(const __grid_constant__ Rows call)                                        \
    {                                                                                  \
        apply_columns<Element, output, ROWS_AT_ONCE>(call);                            \
    }
