// Kernels for what PyTorch has only in several launches, or in one that few blocks work on. NVRTC compiles them at
// start for the card at hand; compute capability 6.0 is enough. No header is needed.
//
// Defined by the caller: WEIGHT and RESIDUAL (Float, Half or BFloat: the element types of weights with activations, and
// of the residual stream), HEADS, KV_HEADS and HEAD_DIM (the decoder's attention), KEYS (a block's at most), THREADS (a
// block's), and where there are tensor cores for the vision tower's attention IMAGE_DIM (its head size), ELEMENTS (PTX's
// name of their type) and IMAGE_THREADS.
// Arithmetic is fp32 throughout; only what is stored is rounded.

typedef long long int64;

struct Float { float value; };
struct Half { unsigned short bits; };
struct BFloat { unsigned short bits; };

typedef WEIGHT Weight;
typedef RESIDUAL Residual;

const int WARP = 32;
const int VECTOR = 8;  // elements that a thread loads at once: 16 bytes of two-byte elements
const int GROUP = HEADS / KV_HEADS;  // query heads of a KV head

__device__ constexpr int power_of_two(int least) { return least <= 1 ? 1 : 2 * power_of_two((least + 1) / 2); }

#define INFINITE __int_as_float(0x7f800000)

// --- elements ---------------------------------------------------------------------------------------------------------

#ifndef EMULATED  // by tests, on a CPU
__device__ __forceinline__ float half_to_float(unsigned short narrow) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(narrow));
    return wide;
}
__device__ __forceinline__ unsigned short float_to_half(float wide) {
    unsigned short narrow;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow) : "f"(wide));
    return narrow;
}
#endif

__device__ __forceinline__ float to_float(Half x) { return half_to_float(x.bits); }
__device__ __forceinline__ float to_float(Float x) { return x.value; }
__device__ __forceinline__ float to_float(BFloat x) { return __uint_as_float((unsigned)x.bits << 16); }

template <class T> __device__ __forceinline__ T rounded(float x);
template <> __device__ __forceinline__ Float rounded<Float>(float x) { return Float{x}; }
template <> __device__ __forceinline__ Half rounded<Half>(float x) { return Half{float_to_half(x)}; }
template <> __device__ __forceinline__ BFloat rounded<BFloat>(float x) {
    unsigned bits = __float_as_uint(x);
    if (x != x) return BFloat{0x7fff};
    return BFloat{(unsigned short)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};  // to nearest, ties to even
}

// Eight neighbouring elements; the address is a multiple of 16 bytes.
template <class T> __device__ __forceinline__ void load8(const T* from, float* x) {
    const uint4 packed = *(const uint4*)from;
    const unsigned words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        x[2 * i] = to_float(T{(unsigned short)(words[i] & 0xffff)});
        x[2 * i + 1] = to_float(T{(unsigned short)(words[i] >> 16)});
    }
}
template <> __device__ __forceinline__ void load8<Float>(const Float* from, float* x) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float4 four = ((const float4*)from)[i];
        x[4 * i] = four.x, x[4 * i + 1] = four.y, x[4 * i + 2] = four.z, x[4 * i + 3] = four.w;
    }
}

// Two neighbouring elements; the address is a multiple of their size.
template <class T> __device__ __forceinline__ void load2(const T* from, float* x) {
    const unsigned packed = *(const unsigned*)from;
    x[0] = to_float(T{(unsigned short)(packed & 0xffff)});
    x[1] = to_float(T{(unsigned short)(packed >> 16)});
}
template <> __device__ __forceinline__ void load2<Float>(const Float* from, float* x) {
    const float2 two = *(const float2*)from;
    x[0] = two.x, x[1] = two.y;
}

// --- sums -------------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float sum_of_lanes(float x, int lanes) {
    for (int step = lanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffff, x, step);
    return x;
}

__device__ __forceinline__ float max_of_warp(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, step));
    return x;
}

__device__ __forceinline__ float sum_of_block(float x) {
    __shared__ float sums[THREADS / WARP];
    x = sum_of_lanes(x, WARP);
    __syncthreads();  // an earlier sum has been read by all
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = x;
    __syncthreads();
    float total = 0;
    for (int warp = 0; warp < THREADS / WARP; warp++) total += sums[warp];
    return total;
}

// --- linear layers of a few rows --------------------------------------------------------------------------------------
// Each warp computes FEATURES outputs of all rows, so that every weight is read once: with a few rows, reading the
// weights is all that takes time.

// Products of `rows` inputs (rows, size) with FEATURES rows of a weight that are `apart` elements apart. With a `norm`,
// the inputs are normalised by their root mean square and scaled by it.
template <int ROWS, int FEATURES, class X>
__device__ __forceinline__ void products(const X* x, int rows, const Weight* weight, int64 apart, int size,
                                         const Weight* norm, float eps, float (&sums)[FEATURES][ROWS]) {
    float squares[ROWS];
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        squares[row] = 0;
#pragma unroll
        for (int feature = 0; feature < FEATURES; feature++) sums[feature][row] = 0;
    }
#pragma unroll 4
    for (int start = threadIdx.x % WARP * VECTOR; start < size; start += WARP * VECTOR) {
        float weights[FEATURES][VECTOR], scale[VECTOR];
#pragma unroll
        for (int feature = 0; feature < FEATURES; feature++) load8(weight + feature * apart + start, weights[feature]);
        if (norm) load8(norm + start, scale);
#pragma unroll
        for (int row = 0; row < ROWS; row++) {
            float inputs[VECTOR];
            load8(x + (int64)(row < rows ? row : rows - 1) * size + start, inputs);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) {
                if (norm) {
                    squares[row] += inputs[i] * inputs[i];
                    inputs[i] *= scale[i];
                }
#pragma unroll
                for (int feature = 0; feature < FEATURES; feature++)
                    sums[feature][row] += weights[feature][i] * inputs[i];
            }
        }
    }
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        float inverse = 1;
        if (norm) inverse = rsqrtf(sum_of_lanes(squares[row], WARP) / size + eps);
#pragma unroll
        for (int feature = 0; feature < FEATURES; feature++)
            sums[feature][row] = sum_of_lanes(sums[feature][row], WARP) * inverse;
    }
}

__device__ __forceinline__ int warp_of_grid() { return blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP; }

// out (rows, features) = normalised x (rows, size) times weight (features, size)
template <int ROWS>
__device__ __forceinline__ void normed_linear(const Residual* x, int rows, const Weight* norm, float eps,
                                              const Weight* weight, int features, int size, Weight* out) {
    const int first = warp_of_grid() * 2;
    if (first >= features) return;
    float sums[2][ROWS];
    const int64 apart = first + 1 < features ? size : 0;
    products<ROWS, 2>(x, rows, weight + (int64)first * size, apart, size, norm, eps, sums);
    if (threadIdx.x % WARP) return;
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        if (row >= rows) break;
        out[(int64)row * features + first] = rounded<Weight>(sums[0][row]);
        if (first + 1 < features) out[(int64)row * features + first + 1] = rounded<Weight>(sums[1][row]);
    }
}

// out (rows, features) = silu(gate) * up of normalised x; weight (2 * features, size): the gate's, then up's
template <int ROWS>
__device__ __forceinline__ void normed_gated(const Residual* x, int rows, const Weight* norm, float eps,
                                             const Weight* weight, int features, int size, Weight* out) {
    const int feature = warp_of_grid();
    if (feature >= features) return;
    float sums[2][ROWS];
    products<ROWS, 2>(x, rows, weight + (int64)feature * size, (int64)features * size, size, norm, eps, sums);
    if (threadIdx.x % WARP) return;
#pragma unroll
    for (int row = 0; row < ROWS; row++)
        if (row < rows)
            out[(int64)row * features + feature] =
                rounded<Weight>(sums[0][row] / (1 + __expf(-sums[0][row])) * sums[1][row]);
}

// out (rows, features) = residual + x (rows, size) times weight (features, size)
template <int ROWS>
__device__ __forceinline__ void linear_add(const Weight* x, int rows, const Weight* weight, int features, int size,
                                           const Residual* residual, Residual* out) {
    const int feature = warp_of_grid();
    if (feature >= features) return;
    float sums[1][ROWS];
    products<ROWS, 1>(x, rows, weight + (int64)feature * size, 0, size, (const Weight*)0, 0, sums);
    if (threadIdx.x % WARP) return;
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        if (row >= rows) break;
        const int64 place = (int64)row * features + feature;
        out[place] = rounded<Residual>(to_float(residual[place]) + sums[0][row]);
    }
}

// out (rows, features), fp32 = x (rows, size) times weight (features, size)
template <int ROWS>
__device__ __forceinline__ void logits(const Weight* x, int rows, const Weight* weight, int features, int size,
                                       float* out) {
    const int first = warp_of_grid() * 4;
    if (first >= features) return;
    float sums[4][ROWS];
    const Weight* own = weight + (int64)(first + 4 <= features ? first : features - 4) * size;
    products<ROWS, 4>(x, rows, own, size, size, (const Weight*)0, 0, sums);
    if (threadIdx.x % WARP) return;
#pragma unroll
    for (int row = 0; row < ROWS; row++)
#pragma unroll
        for (int feature = 0; feature < 4; feature++)
            if (row < rows)
                out[(int64)row * features + (first + 4 <= features ? first : features - 4) + feature] =
                    sums[feature][row];
}

#define FOR_ROWS(ROWS)                                                                                                 \
    extern "C" __global__ void normed_linear_##ROWS(const Residual* x, int rows, const Weight* norm, float eps,        \
                                                    const Weight* weight, int features, int size, Weight* out) {       \
        normed_linear<ROWS>(x, rows, norm, eps, weight, features, size, out);                                          \
    }                                                                                                                  \
    extern "C" __global__ void normed_gated_##ROWS(const Residual* x, int rows, const Weight* norm, float eps,         \
                                                   const Weight* weight, int features, int size, Weight* out) {        \
        normed_gated<ROWS>(x, rows, norm, eps, weight, features, size, out);                                           \
    }                                                                                                                  \
    extern "C" __global__ void linear_add_##ROWS(const Weight* x, int rows, const Weight* weight, int features,        \
                                                 int size, const Residual* residual, Residual* out) {                  \
        linear_add<ROWS>(x, rows, weight, features, size, residual, out);                                              \
    }                                                                                                                  \
    extern "C" __global__ void logits_##ROWS(const Weight* x, int rows, const Weight* weight, int features, int size,  \
                                             float* out) {                                                             \
        logits<ROWS>(x, rows, weight, features, size, out);                                                            \
    }

FOR_ROWS(1)
FOR_ROWS(2)
FOR_ROWS(4)
FOR_ROWS(8)

// --- elementwise ------------------------------------------------------------------------------------------------------

// Rotary positions in place: the first `heads` heads of x (tokens, ..., head_dim), whose tokens are `stride` elements
// apart; cosines and sines (tokens, head_dim), the sines of the first half negated.
extern "C" __global__ void rotate(Weight* x, int64 stride, int64 tokens, int heads, int head_dim, const float* cosines,
                                  const float* sines) {
    const int half = head_dim / 2;
    const int64 pair = (int64)blockIdx.x * THREADS + threadIdx.x;
    if (pair >= tokens * heads * half) return;
    const int dim = pair % half;
    const int64 head = pair / half % heads, token = pair / half / heads;
    Weight* first = x + token * stride + head * head_dim + dim;
    const float* cosine = cosines + token * head_dim + dim;
    const float* sine = sines + token * head_dim + dim;
    const float a = to_float(first[0]), b = to_float(first[half]);
    first[0] = rounded<Weight>(a * cosine[0] + b * sine[0]);
    first[half] = rounded<Weight>(b * cosine[half] + a * sine[half]);
}

// out (tokens, size) = x (tokens, 2 * size): silu of the first half times the second
extern "C" __global__ void gated(const Weight* x, int64 tokens, int size, Weight* out) {
    const int64 place = (int64)blockIdx.x * THREADS + threadIdx.x;
    if (place >= tokens * size) return;
    const Weight* gate = x + place / size * 2 * size + place % size;
    const float value = to_float(gate[0]);
    out[place] = rounded<Weight>(value / (1 + __expf(-value)) * to_float(gate[size]));
}

// RMS norm of x (blocks, size), or layer norm where there is a bias; `added`, if any, is first added to x in place.
extern "C" __global__ void normalise(Residual* x, const Weight* added, const Weight* weight, const Weight* bias,
                                     float eps, int size, Weight* out) {
    x += (int64)blockIdx.x * size, out += (int64)blockIdx.x * size;
    if (added) {  // each thread goes on with the elements that it has written
        added += (int64)blockIdx.x * size;
        for (int i = threadIdx.x; i < size; i += THREADS) x[i] = rounded<Residual>(to_float(x[i]) + to_float(added[i]));
    }
    float mean = 0, squares = 0;
    if (bias) {
        for (int i = threadIdx.x; i < size; i += THREADS) mean += to_float(x[i]);
        mean = sum_of_block(mean) / size;
    }
    for (int i = threadIdx.x; i < size; i += THREADS) {
        const float centred = to_float(x[i]) - mean;
        squares += centred * centred;
    }
    const float inverse = rsqrtf(sum_of_block(squares) / size + eps);
    for (int i = threadIdx.x; i < size; i += THREADS) {
        const float scaled = (to_float(x[i]) - mean) * inverse * to_float(weight[i]);
        out[i] = rounded<Weight>(bias ? scaled + to_float(bias[i]) : scaled);
    }
}

// --- attention of new tokens ------------------------------------------------------------------------------------------
// The keys of a row are split among blocks, as in FlashDecoding (Dao et al. 2023): with a few rows, whole rows would
// occupy a few of a card's processors only. Every row reads just its own keys.

// One block: a row's part of the keys for the query heads of one KV head. grid (parts, KV_HEADS, rows). queries
// (rows, HEADS, HEAD_DIM) and added (rows, 2 * KV_HEADS, HEAD_DIM), new keys and then values, have rows `stride`
// elements apart. A new key and value are stored in the cache at the row's position, up to which the row attends; a row
// at position `idle` has no sequence. Unnormalised outputs go to sums (rows, HEADS, parts, HEAD_DIM), and their scores'
// maximum and the sum of exponentials to scales (rows, HEADS, parts, 2).
extern "C" __global__ void attend(const Weight* queries, const Weight* added, int64 stride, Weight* cache,
                                  int64 slot_stride, int64 value_offset, int64 head_stride, const int64* slots,
                                  const int64* positions, int idle, int keys_of_part, float scale, float* sums,
                                  float* scales) {
    const int part = blockIdx.x, parts = gridDim.x, kv_head = blockIdx.y, row = blockIdx.z;
    const int position = (int)positions[row], begin = part * keys_of_part;
    if (begin > position || position == idle) return;
    const int count = min(keys_of_part, position + 1 - begin);
    Weight* keys = cache + slots[row] * slot_stride + kv_head * head_stride;
    Weight* values = keys + value_offset;
    queries += row * stride + kv_head * GROUP * HEAD_DIM;
    const Weight* new_key = added + row * stride + kv_head * HEAD_DIM;
    const Weight* new_value = new_key + KV_HEADS * HEAD_DIM;
    const int own = position - begin;  // the new token among these keys, if it is

    __shared__ float weights[KEYS * GROUP];  // scores, then their exponentials
    const int lanes = power_of_two(HEAD_DIM / VECTOR);  // threads that share a key
    const int lane = threadIdx.x % lanes;
    const int part_of_key = min(lane * VECTOR, HEAD_DIM - VECTOR);
    const bool idle_lane = lane * VECTOR >= HEAD_DIM;  // it repeats the last part, with a query of 0
    float query[GROUP][VECTOR];
#pragma unroll
    for (int head = 0; head < GROUP; head++) {
        load8(queries + head * HEAD_DIM + part_of_key, query[head]);
#pragma unroll
        for (int i = 0; i < VECTOR; i++) query[head][i] = idle_lane ? 0 : query[head][i] * scale;
    }
#pragma unroll 2
    for (int first = 0; first < count; first += THREADS / lanes) {
        const int key = first + threadIdx.x / lanes;
        float elements[VECTOR];
        const int read = key < count ? key : count - 1;
        load8((read == own ? new_key : keys + (int64)(begin + read) * HEAD_DIM) + part_of_key, elements);
#pragma unroll
        for (int head = 0; head < GROUP; head++) {
            float score = 0;
#pragma unroll
            for (int i = 0; i < VECTOR; i++) score += query[head][i] * elements[i];
            score = sum_of_lanes(score, lanes);
            if (key < count && lane == head % lanes) weights[key * GROUP + head] = score;
        }
    }
    if (own < count)
        for (int i = threadIdx.x; i < HEAD_DIM; i += THREADS) {
            keys[(int64)position * HEAD_DIM + i] = new_key[i];
            values[(int64)position * HEAD_DIM + i] = new_value[i];
        }
    __syncthreads();

    for (int head = threadIdx.x / WARP; head < GROUP; head += THREADS / WARP) {
        float largest = -INFINITE, total = 0;
        for (int key = threadIdx.x % WARP; key < count; key += WARP) largest = fmaxf(largest, weights[key * GROUP + head]);
        largest = max_of_warp(largest);
        for (int key = threadIdx.x % WARP; key < count; key += WARP) {
            const float weight = __expf(weights[key * GROUP + head] - largest);
            weights[key * GROUP + head] = weight;
            total += weight;
        }
        total = sum_of_lanes(total, WARP);
        if (threadIdx.x % WARP == 0) {
            float* pair = scales + (((int64)row * HEADS + kv_head * GROUP + head) * parts + part) * 2;
            pair[0] = largest, pair[1] = total;
        }
    }
    __syncthreads();

    // Each thread: two dimensions of every THREADS / (HEAD_DIM / 2)-th value.
    __shared__ float partial[2 * THREADS * GROUP];
    const int pairs = HEAD_DIM / 2, groups = THREADS / pairs;
    const int pair = threadIdx.x % pairs, first = threadIdx.x / pairs;
    float output[GROUP][2];
#pragma unroll
    for (int head = 0; head < GROUP; head++) output[head][0] = output[head][1] = 0;
#pragma unroll 4
    for (int key = first < groups ? first : count; key < count; key += groups) {
        const Weight* value = (key == own ? new_value : values + (int64)(begin + key) * HEAD_DIM);
        float elements[2];
        load2(value + 2 * pair, elements);
#pragma unroll
        for (int head = 0; head < GROUP; head++) {
            const float weight = weights[key * GROUP + head];
            output[head][0] += weight * elements[0], output[head][1] += weight * elements[1];
        }
    }
#pragma unroll
    for (int head = 0; head < GROUP && first < groups; head++) {
        partial[(first * GROUP + head) * HEAD_DIM + 2 * pair] = output[head][0];
        partial[(first * GROUP + head) * HEAD_DIM + 2 * pair + 1] = output[head][1];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < GROUP * HEAD_DIM; i += THREADS) {
        float sum = 0;
        for (int other = 0; other < groups; other++) sum += partial[other * GROUP * HEAD_DIM + i];
        const int head = kv_head * GROUP + i / HEAD_DIM;
        sums[(((int64)row * HEADS + head) * parts + part) * HEAD_DIM + i % HEAD_DIM] = sum;
    }
}

// The parts of `attend` as one output (rows, HEADS, HEAD_DIM). grid (HEADS, rows), HEAD_DIM threads.
extern "C" __global__ void join_parts(const float* sums, const float* scales, const int64* positions, int idle,
                                      int keys_of_part, int parts, Weight* out) {
    const int64 place = (int64)blockIdx.y * HEADS + blockIdx.x;
    const int position = (int)positions[blockIdx.y], used = position == idle ? 0 : position / keys_of_part + 1;
    sums += place * parts * HEAD_DIM + threadIdx.x, scales += place * parts * 2;
    float largest = -INFINITE, total = 0, output = 0;
    for (int part = 0; part < used; part++) largest = fmaxf(largest, scales[2 * part]);
#pragma unroll 4
    for (int part = 0; part < used; part++) {
        const float weight = __expf(scales[2 * part] - largest);
        total += weight * scales[2 * part + 1];
        output += weight * sums[(int64)part * HEAD_DIM];
    }
    out[place * HEAD_DIM + threadIdx.x] = rounded<Weight>(used ? output / total : 0);
}

// --- attention inside an image ----------------------------------------------------------------------------------------
// FlashAttention-2 (Dao 2023) for two-byte elements by the tensor cores of compute capability 7.5 and up: PyTorch has it
// from 8.0 up only, and pads heads of 72 elements to 96; its memory-efficient kernel pads them to 128.

#ifdef IMAGE_DIM

const int STEPS = IMAGE_DIM / 8;  // of eight elements, as the tensor cores take them
const int ROW = (STEPS % 2 ? STEPS : STEPS + 1) * 8;  // elements from one row of a tile to the next: no bank conflicts
const int TILE = 64;  // keys
const int IMAGE_QUERIES = IMAGE_THREADS / WARP * 16;  // of a block

#ifdef EMULATED
void multiply_add(float (&sums)[4], unsigned a, unsigned a_below, unsigned b);
unsigned load_rows(const Weight* row);
#else
// sums (16, 8) += a (16, 8) times b (8, 8), each spread over a warp as the PTX manual shows for mma.m16n8k8.
__device__ __forceinline__ void multiply_add(float (&sums)[4], unsigned a, unsigned a_below, unsigned b) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32." ELEMENTS "." ELEMENTS ".f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a), "r"(a_below), "r"(b));
}

// The second factor of `multiply_add` from shared memory; the first eight lanes name its rows.
__device__ __forceinline__ unsigned load_rows(const Weight* row) {
    unsigned b;
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
                 : "=r"(b)
                 : "r"((unsigned)__cvta_generic_to_shared(row)));
    return b;
}
#endif

__device__ __forceinline__ unsigned packed(float first, float second) {
    return rounded<Weight>(first).bits | (unsigned)rounded<Weight>(second).bits << 16;
}

// grid (queries / IMAGE_QUERIES, heads, images). q, k and v are elements of one layout: from one to the next token, head
// and image are as many elements as given. out (images, queries, heads, IMAGE_DIM).
extern "C" __global__ void __launch_bounds__(IMAGE_THREADS, 2)
    attend_image(const Weight* q, const Weight* k, const Weight* v, int64 token, int64 head, int64 image, int queries,
                 int keys, float scale, Weight* out) {
    __shared__ uint4 key_tile[TILE * ROW / VECTOR], value_tile[TILE * ROW / VECTOR];
    const int lane = threadIdx.x % WARP, row = lane / 4, column = lane % 4 * 2;  // this thread's parts of a factor
    const int64 place = blockIdx.y * head + blockIdx.z * image;
    const int first = blockIdx.x * IMAGE_QUERIES + threadIdx.x / WARP * 16 + row;  // and the query eight below
    unsigned query[STEPS][2];
#pragma unroll
    for (int below = 0; below < 2; below++) {
        const Weight* own = q + place + (int64)min(first + 8 * below, queries - 1) * token + column;
#pragma unroll
        for (int step = 0; step < STEPS; step++) query[step][below] = *(const unsigned*)(own + 8 * step);
    }
    float output[STEPS][4], largest[2] = {-INFINITE, -INFINITE}, total[2] = {0, 0};
#pragma unroll
    for (int step = 0; step < STEPS; step++)
#pragma unroll
        for (int i = 0; i < 4; i++) output[step][i] = 0;
    scale *= 1.4426950408889634f;  // log2(e): exp2 is what the hardware has

    for (int start = 0; start < keys; start += TILE) {
        __syncthreads();  // the last tile has been read
        for (int part = threadIdx.x; part < TILE * STEPS; part += IMAGE_THREADS) {
            const int key = start + part / STEPS, target = part / STEPS * (ROW / VECTOR) + part % STEPS;
            const int64 source = place + (int64)min(key, keys - 1) * token + part % STEPS * VECTOR;
            key_tile[target] = *(const uint4*)(k + source);
            value_tile[target] = *(const uint4*)(v + source);
        }
        __syncthreads();

        float scores[TILE / 8][4], peak[2] = {largest[0], largest[1]};
#pragma unroll
        for (int eight = 0; eight < TILE / 8; eight++) {
#pragma unroll
            for (int i = 0; i < 4; i++) scores[eight][i] = 0;
            const Weight* own = (const Weight*)key_tile + (8 * eight + row) * ROW + column;
#pragma unroll
            for (int step = 0; step < STEPS; step++)
                multiply_add(scores[eight], query[step][0], query[step][1], *(const unsigned*)(own + 8 * step));
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const bool exists = start + 8 * eight + column + i % 2 < keys;
                scores[eight][i] = exists ? scores[eight][i] * scale : -INFINITE;
                peak[i / 2] = fmaxf(peak[i / 2], scores[eight][i]);
            }
        }
        float shrink[2];
#pragma unroll
        for (int below = 0; below < 2; below++) {
            for (int step = 1; step < 4; step *= 2)
                peak[below] = fmaxf(peak[below], __shfl_xor_sync(0xffffffff, peak[below], step));
            shrink[below] = exp2f(largest[below] - peak[below]);
            largest[below] = peak[below];
            total[below] *= shrink[below];
        }
#pragma unroll
        for (int step = 0; step < STEPS; step++)
#pragma unroll
            for (int i = 0; i < 4; i++) output[step][i] *= shrink[i / 2];
#pragma unroll
        for (int eight = 0; eight < TILE / 8; eight++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                scores[eight][i] = exp2f(scores[eight][i] - largest[i / 2]);
                total[i / 2] += scores[eight][i];
            }
            const unsigned weights = packed(scores[eight][0], scores[eight][1]);
            const unsigned weights_below = packed(scores[eight][2], scores[eight][3]);
            const Weight* own = (const Weight*)value_tile + (8 * eight + lane % 8) * ROW;
#pragma unroll
            for (int step = 0; step < STEPS; step++)
                multiply_add(output[step], weights, weights_below, load_rows(own + 8 * step));
        }
    }

#pragma unroll
    for (int below = 0; below < 2; below++) {
        for (int step = 1; step < 4; step *= 2) total[below] += __shfl_xor_sync(0xffffffff, total[below], step);
        const int own = first + 8 * below;
        if (own >= queries) continue;
        Weight* target = out + (((int64)blockIdx.z * queries + own) * gridDim.y + blockIdx.y) * IMAGE_DIM + column;
#pragma unroll
        for (int step = 0; step < STEPS; step++)
            *(unsigned*)(target + 8 * step) =
                packed(output[step][2 * below] / total[below], output[step][2 * below + 1] / total[below]);
    }
}

#endif
