// A GPU for tests: runs the source of CUDA kernels on a CPU, block after block, a thread of a block as a fiber.
//
// Compiled with the defines that NVRTC gets, and with KERNELS, the kernels' file. `emulate` gets a kernel's parameters
// in one buffer, packed as C would pack a struct.

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

// CUDA's words that a CPU's compiler lacks.
#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static  // blocks run one after another
#define __int_as_float(bits) INFINITY  // its only use
#define __expf expf
#define EMULATED

struct uint3 { unsigned x, y, z; };
struct uint4 { unsigned x, y, z, w; };
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
using std::min;

static uint3 threadIdx, blockIdx, gridDim;

// The bits of a value as another type of the same size.
template <class To, class From>
static To bits_as(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To same;
    std::memcpy(&same, &value, sizeof(To));
    return same;
}

static float __uint_as_float(unsigned bits) { return bits_as<float>(bits); }
static unsigned __float_as_uint(float x) { return bits_as<unsigned>(x); }
static float half_to_float(unsigned short bits) { return bits_as<_Float16>(bits); }
static unsigned short float_to_half(float x) { return bits_as<unsigned short>((_Float16)x); }
static float rsqrtf(float x) { return 1 / std::sqrt(x); }

// --- fibers -----------------------------------------------------------------------------------------------------------

// A thread of a block is a fiber. It runs until it waits at a barrier, and then leaves the CPU to the scheduler, which
// runs the threads of the block in turn until all are done.

const int LANES = 32, STACK = 1 << 16;

struct Barrier {
    int members = 0, arrived = 0, generation = 0;
    void open() {
        arrived = 0;
        generation++;
    }
};

static ucontext_t scheduler;
static std::vector<ucontext_t> fibers;  // one for each thread, as in `done` and `exchanged`
static std::vector<bool> done;
static std::vector<float> exchanged;  // what it offers to the others of its warp
static std::vector<Barrier> warps;
static Barrier block;
static int running;  // the thread that runs

static void wait(Barrier& barrier) {
    const int generation = barrier.generation;
    if (++barrier.arrived == barrier.members) barrier.open();
    while (barrier.generation == generation) swapcontext(&fibers[running], &scheduler);
}

// A thread that is done holds up no other.
static void leave(Barrier& barrier) {
    if (--barrier.members == barrier.arrived && barrier.members) barrier.open();
}

static void __syncthreads() { wait(block); }

static float __shfl_xor_sync(unsigned, float x, int lanes) {
    const int own = running;
    exchanged[own] = x;
    wait(warps[own / LANES]);
    const float other = exchanged[own ^ lanes];
    wait(warps[own / LANES]);
    return other;
}

static std::function<void()> kernel_call;  // the running kernel with its parameters

static void fiber() {
    kernel_call();
    leave(warps[running / LANES]);
    leave(block);
    done[running] = true;
    swapcontext(&fibers[running], &scheduler);
}

static void run_block(int threads, const std::vector<std::unique_ptr<char[]>>& stacks) {
    fibers.assign(threads, {});
    done.assign(threads, false);
    exchanged.assign(threads, 0);
    warps.assign(threads / LANES, {LANES});
    block = {threads};
    for (int thread = 0; thread < threads; thread++) {
        getcontext(&fibers[thread]);
        fibers[thread].uc_stack.ss_sp = stacks[thread].get();
        fibers[thread].uc_stack.ss_size = STACK;
        fibers[thread].uc_link = nullptr;
        makecontext(&fibers[thread], fiber, 0);
    }
    for (int left = threads; left;) {
        for (running = 0; running < threads; running++) {
            if (done[running]) continue;
            threadIdx = {(unsigned)running, 0, 0};
            swapcontext(&scheduler, &fibers[running]);
            left -= done[running];
        }
    }
}

// --- kernels ----------------------------------------------------------------------------------------------------------

#include KERNELS

#ifdef IMAGE_DIM
static unsigned factors[3][1024];
static const Weight* rows[1024];

static float element(unsigned pair, int i) { return to_float(Weight{(unsigned short)(pair >> 16 * i)}); }

// As PTX describes mma.m16n8k8: a lane has two neighbours of a row of a, and of a column of b.
void multiply_add(float (&sums)[4], unsigned a, unsigned a_below, unsigned b) {
    const int own = running, warp = own / LANES * LANES, lane = own % LANES;
    factors[0][own] = a, factors[1][own] = a_below, factors[2][own] = b;
    wait(warps[own / LANES]);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 8; k++) {
            const int column = lane % 4 * 2 + i % 2;
            sums[i] += element(factors[i / 2][warp + lane / 4 * 4 + k / 2], k % 2) *
                       element(factors[2][warp + column * 4 + k / 2], k % 2);
        }
    wait(warps[own / LANES]);
}

// As PTX describes ldmatrix.trans: a lane gets two neighbours of a column.
unsigned load_rows(const Weight* row) {
    const int own = running, warp = own / LANES * LANES, lane = own % LANES;
    rows[own] = row;
    wait(warps[own / LANES]);
    const unsigned first = rows[warp + lane % 4 * 2][lane / 4].bits, second = rows[warp + lane % 4 * 2 + 1][lane / 4].bits;
    wait(warps[own / LANES]);
    return first | second << 16;
}
#endif

// The next parameter of a packed buffer, aligned as C would.
template <class T>
static T next_of(char*& buffer) {
    const auto address = (std::size_t)buffer;
    buffer += (alignof(T) - address % alignof(T)) % alignof(T);
    T value = *(T*)buffer;
    buffer += sizeof(T);
    return value;
}

template <class... Parameters>
static void launch(void (*kernel)(Parameters...), uint3 grid, int threads, char* packed) {
    const std::tuple<Parameters...> parameters{next_of<Parameters>(packed)...};  // in this order, for the braces
    kernel_call = [&] { std::apply(kernel, parameters); };
    std::vector<std::unique_ptr<char[]>> stacks;
    for (int thread = 0; thread < threads; thread++) stacks.emplace_back(new char[STACK]);
    gridDim = grid;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = {x, y, z};
                run_block(threads, stacks);
            }
}

#define KERNEL(NAME) \
    if (called == #NAME) { \
        launch(NAME, {x, y, z}, threads, parameters); \
        return 0; \
    }
#define KERNELS_OF_ROWS(ROWS) \
    KERNEL(normed_linear_##ROWS) \
    KERNEL(normed_gated_##ROWS) \
    KERNEL(linear_add_##ROWS) \
    KERNEL(logits_##ROWS)

// Launches a kernel by its name; 1 where there is none.
extern "C" int emulate(const char* name, unsigned x, unsigned y, unsigned z, int threads, char* parameters) {
    const std::string called = name;
    KERNELS_OF_ROWS(1) KERNELS_OF_ROWS(2) KERNELS_OF_ROWS(4) KERNELS_OF_ROWS(8)
    KERNEL(rotate) KERNEL(gated) KERNEL(normalise) KERNEL(attend) KERNEL(join_parts)
#ifdef IMAGE_DIM
    KERNEL(attend_image)
#endif
    return 1;
}
