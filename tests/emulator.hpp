// What CUDA has and C++ has not, for one thread block at a time on a host.
//
// The threads of a block are fibers that take turns: each runs up to a barrier, then the next one.
// That all of them have to come to the same barriers is checked; the order of turns alternates
// from launch to launch, so that what lacks a barrier shows.

#include <math.h>
#include <setjmp.h>
#include <string.h>
#include <ucontext.h>

#include <functional>
#include <vector>

using std::isfinite;
using std::isinf;

#define __device__
#define __global__
#define __shared__ static
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(threads)

struct Index {
    unsigned int x, y;
};
static Index threadIdx, blockIdx, gridDim;

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

struct Fiber {
    ucontext_t context;
    jmp_buf resume;
    std::vector<char> stack;
    bool started, done;
};
static Fiber *current;
static jmp_buf scheduler;
static std::function<void()> body;

static void __syncthreads()
{
    if (!_setjmp(current->resume)) _longjmp(scheduler, 1);
}

static void enter()
{
    body();
    current->done = true;
    _longjmp(scheduler, 1);
}

static void turn(std::vector<Fiber> &fibers, int thread)
{
    current = &fibers[thread];
    threadIdx = {(unsigned)thread, 0};
    if (_setjmp(scheduler)) return;
    if (current->started) _longjmp(current->resume, 1);
    current->started = true;
    getcontext(&current->context);
    current->context.uc_stack.ss_sp = current->stack.data();
    current->context.uc_stack.ss_size = current->stack.size();
    makecontext(&current->context, enter, 0);
    setcontext(&current->context);
}

// Run a kernel; false if some threads of a block waited for others that had come to their end.
static bool run(int grid_x, int grid_y, int threads, std::function<void()> kernel)
{
    static bool backwards;
    static std::vector<Fiber> fibers;
    body = kernel;
    backwards = !backwards;
    while ((int)fibers.size() < threads) {
        fibers.emplace_back();
        fibers.back().stack.resize(1 << 16);
    }
    gridDim = {(unsigned)grid_x, (unsigned)grid_y};
    for (unsigned y = 0; y < gridDim.y; ++y)
        for (unsigned x = 0; x < gridDim.x; ++x) {
            blockIdx = {x, y};
            for (int i = 0; i < threads; ++i) fibers[i].started = fibers[i].done = false;
            for (int done = 0; done < threads;) {
                for (int i = 0; i < threads; ++i) turn(fibers, backwards ? threads - 1 - i : i);
                done = 0;
                for (int i = 0; i < threads; ++i) done += fibers[i].done;
                if (done > 0 && done < threads) return false;
            }
        }
    return true;
}

#define LAUNCHER(name, Argument)                                                                 \
    extern "C" bool launch_##name(int grid_x, int grid_y, int threads, const Argument *argument) \
    {                                                                                            \
        return run(grid_x, grid_y, threads, [=] { name(*argument); });                           \
    }
