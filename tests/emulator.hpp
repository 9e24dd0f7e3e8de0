// What CUDA has and C++ has not, for one thread block at a time on a host.
//
// The threads of a block are fibers that take turns: each runs up to a barrier, of its block or of
// its warp, then the next one.  That all of a block, or of a warp, have to come to it is checked; the
// order of turns alternates from launch to launch, so that what lacks a barrier shows.

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

using std::isfinite;
using std::isinf;

#define __device__
#define __global__
#define __shared__ static
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

struct Index {
    unsigned int x, y;
};
static Index threadIdx, blockIdx, gridDim, blockDim;

template <typename To, typename From> static To bits_as(From from)
{
    To to;
    static_assert(sizeof(to) == sizeof(from), "");
    memcpy(&to, &from, sizeof(to));
    return to;
}
static inline float __uint_as_float(unsigned int bits) { return bits_as<float>(bits); }
static inline unsigned int __float_as_uint(float value) { return bits_as<unsigned int>(value); }
static inline double __longlong_as_double(long long bits) { return bits_as<double>(bits); }
static inline long long __double_as_longlong(double value) { return bits_as<long long>(value); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }

enum Wait { NOTHING, FOR_WARP, FOR_BLOCK, DONE };
struct Fiber {
    ucontext_t context;
    jmp_buf resume;
    char stack[1 << 16];
    bool started;
    Wait waits;
    int exchanges;
};
static Fiber *current;
static jmp_buf scheduler;
static void (*body)(const void *);
static const void *body_argument;

static void wait_for(Wait what)
{
    current->waits = what;
    if (!_setjmp(current->resume)) _longjmp(scheduler, 1);
}
static void __syncthreads() { wait_for(FOR_BLOCK); }
static void __syncwarp() { wait_for(FOR_WARP); }
static void __threadfence() {}

// Two places for each thread: one may give its next value before another has read the last one.
template <typename Value> static Value __shfl_xor_sync(unsigned mask, Value value, int hop)
{
    static Value given[2][1024];
    const unsigned threads = blockDim.x - threadIdx.x / 32 * 32;  // from those of this warp on
    if (mask != (threads < 32 ? (1u << threads) - 1 : 0xffffffffu)) abort();
    Value *to = given[current->exchanges++ % 2];
    to[threadIdx.x] = value;
    __syncwarp();
    return to[threadIdx.x ^ hop];
}
static bool __any_sync(unsigned mask, bool one)
{
    int any = one;
    for (int hop = 16; hop; hop /= 2) any |= __shfl_xor_sync(mask, any, hop);
    return any;
}
static unsigned __ballot_sync(unsigned mask, bool one)
{
    unsigned bits = unsigned(one) << threadIdx.x % 32;
    for (int hop = 16; hop; hop /= 2) bits |= __shfl_xor_sync(mask, bits, hop);
    return bits;
}
static unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned __int128)a * b >> 64;
}
static int __popc(unsigned bits) { return __builtin_popcount(bits); }
static int __ffs(int bits) { return __builtin_ffs(bits); }
static int __syncthreads_count(bool one)
{
    static bool ones[1024];
    ones[threadIdx.x] = one;
    __syncthreads();
    int count = 0;
    for (unsigned i = 0; i < blockDim.x; ++i) count += ones[i];
    __syncthreads();
    return count;
}
static unsigned atomicAdd(unsigned *to, unsigned by)
{
    unsigned before = *to;
    *to += by;
    return before;
}

// A device traps where an access of 16 bytes is not aligned to them.
template <typename Piece> static Piece *aligned(Piece *address)
{
    if ((unsigned long long)address % sizeof(Piece)) abort();
    return address;
}

static void enter()
{
    body(body_argument);
    current->waits = DONE;
    _longjmp(scheduler, 1);
}

static void turn(Fiber *fibers, int thread)
{
    current = &fibers[thread];
    current->waits = NOTHING;
    threadIdx = {(unsigned)thread, 0};
    if (_setjmp(scheduler)) return;
    if (current->started) _longjmp(current->resume, 1);
    current->started = true;
    getcontext(&current->context);
    current->context.uc_stack.ss_sp = current->stack;
    current->context.uc_stack.ss_size = sizeof(current->stack);
    makecontext(&current->context, enter, 0);
    setcontext(&current->context);
}

// Run a kernel; false if some threads of a block or a warp waited for others in vain.
static bool run(
    int grid_x, int grid_y, int threads, void (*kernel)(const void *), const void *argument
)
{
    const int WARP = 32;
    static bool backwards;
    static Fiber fibers[1024];  // memory of those that are never used is never touched
    body = kernel;
    body_argument = argument;
    backwards = !backwards;
    gridDim = {(unsigned)grid_x, (unsigned)grid_y};
    blockDim = {(unsigned)threads, 1};
    auto all = [](int from, int to, Wait what) {
        for (int i = from; i < to; ++i)
            if (fibers[i].waits != what) return false;
        return true;
    };
    auto all_take_turns = [](int from, int to) {
        for (int i = 0; i < to - from; ++i) turn(fibers, backwards ? to - 1 - i : from + i);
    };
    for (unsigned y = 0; y < gridDim.y; ++y)
        for (unsigned x = 0; x < gridDim.x; ++x) {
            blockIdx = {x, y};
            for (int i = 0; i < threads; ++i) {
                fibers[i].started = false;
                fibers[i].exchanges = 0;
            }
            do {
                all_take_turns(0, threads);
                for (bool warps = true; warps;) {
                    warps = false;
                    for (int from = 0; from < threads; from += WARP) {
                        const int to = from + WARP < threads ? from + WARP : threads;
                        if (all(from, to, FOR_WARP)) {
                            all_take_turns(from, to);
                            warps = true;
                        } else {
                            for (int i = from; i < to; ++i)
                                if (fibers[i].waits == FOR_WARP) return false;
                        }
                    }
                }
                if (!all(0, threads, FOR_BLOCK) && !all(0, threads, DONE)) return false;
            } while (!all(0, threads, DONE));
        }
    return true;
}

#define LAUNCHER(name, Argument)                                                                 \
    extern "C" bool launch_##name(int grid_x, int grid_y, int threads, const Argument *argument) \
    {                                                                                            \
        auto kernel = [](const void *given) { name(*(const Argument *)given); };                 \
        return run(grid_x, grid_y, threads, kernel, argument);                                   \
    }
