// topk_pack: of every 4096 elements of a = decay*error + x the K largest by magnitude, in 14 bits each; what they do not say stays
//   in error: error = a - decoded (error feedback, arXiv:1901.09847; top-k in chunks with 2-bit values, arXiv:2508.15706)
// topk_add: destination += weight * decoded, for one peer's chunk; peers are added in one order, so the bits agree everywhere.
// A packed chunk, bytes little-endian: low, high bf16; K places of 12 bits, ascending, two in three bytes; K codes of 2 bits, four in
//   a byte, bit 0 the sign, bit 1 the upper half.  low <= the K-th magnitude (truncated), high >= the largest (rounded up);
//   value = sign * (low + (upper ? 3/4 : 1/4) * (high - low)).  Of equal magnitudes the lower place wins. Bytes equal those of the CPU.
// Shapes   x, error, destination [n] fp32; wire ceil(n/4096) chunks of 4 + 7*K/4 bytes; K a multiple of 4, at most 512
// Traffic  pack 12*n bytes, add 8*K bytes per chunk and the wire
// Math     about 40 integer operations per element: four rounds of a histogram find the K-th magnitude; bandwidth-bound
// Goal     >= 60 % of measured copy bandwidth for pack: the four rounds stand between the loads and the stores of a block
// Launch   one block of 256 per chunk; a thread owns 16 neighbouring elements, so places come out in order
#include "ptx.cuh"

constexpr int Chunk = 4096;
constexpr int Threads = 256;
constexpr int Own = Chunk / Threads;
constexpr int KeptMost = 512;

// The sum of x over the threads before this one. Two values of 16 bits may share a word. Callers pass a barrier between two calls.
__device__ __forceinline__ u32 sum_before(u32 x) {
    SHARED(u32, sums, Threads / 32);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 inclusive = x;
    for (int lanes = 1; lanes < 32; lanes *= 2) {
        const u32 other = __shfl_up_sync(~0u, inclusive, lanes);
        if (lane >= lanes) inclusive += other;
    }
    if (lane == 31) sums[warp] = inclusive;
    __syncthreads();
    u32 before = 0;
    for (int w = 0; w < Threads / 32; w++) before += w < warp ? sums[w] : 0u;
    return before + inclusive - x;
}

// The kept-th largest key; `rank` becomes how many of the keys equal to it are kept.
__device__ __forceinline__ u32 threshold_of(const u32 (&keys)[Own], int& rank) {
    SHARED(u32, histogram, 256);
    SHARED(u32, found, 2);
    u32 prefix = 0, mask = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        histogram[threadIdx.x] = 0;
        __syncthreads();
#pragma unroll
        for (int j = 0; j < Own; j++)
            if ((keys[j] & mask) == prefix) atomicAdd(&histogram[keys[j] >> shift & 255u], 1u);
        __syncthreads();
        const u32 bin = 255 - threadIdx.x, count = histogram[bin], before = sum_before(count);
        if ((int)before < rank && rank <= (int)(before + count)) found[0] = bin, found[1] = rank - before;
        __syncthreads();
        prefix |= found[0] << shift;
        mask |= 255u << shift;
        rank = (int)found[1];
    }
    return prefix;
}

__device__ __forceinline__ float level(float low, float range, u32 code) {
    const float magnitude = fmaf(code & 2u ? 0.75f : 0.25f, range, low);
    return code & 1u ? -magnitude : magnitude;
}

extern "C" __global__ void __launch_bounds__(Threads, 3) topk_pack(const float* x, float* error, float decay, int kept, unsigned char* wire,
                                                                long long count) {
    SHARED(u32, largest, Threads / 32);
    SHARED(u16, chosen, KeptMost);  // 12 bits of place, 2 of code
    const long long first = (long long)blockIdx.x * Chunk + Own * threadIdx.x;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float a[Own];
#pragma unroll
    for (int part = 0; part < Own; part += 8) {
        const int here = (int)max(0ll, min(8ll, count - first - part));
        float e[8], v[8];
        load_columns(error + first + part, here, e);
        load_columns(x + first + part, here, v);
#pragma unroll
        for (int j = 0; j < 8; j++) a[part + j] = fmaf(decay, e[j], v[j]);
    }
    u32 keys[Own], most = 0;
#pragma unroll
    for (int j = 0; j < Own; j++) {
        keys[j] = __float_as_uint(a[j]) & 0x7fffffffu;
        most = max(most, keys[j]);
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) most = max(most, __shfl_xor_sync(~0u, most, lanes));
    if (lane == 0) largest[warp] = most;
    int rank = kept;
    const u32 threshold = threshold_of(keys, rank);
    for (int w = 0; w < Threads / 32; w++) most = max(most, largest[w]);

    const u32 low_bits = threshold >> 16, high_bits = (most + 0xffffu) >> 16;
    const float low = __uint_as_float(low_bits << 16), range = __uint_as_float(high_bits << 16) - low;
    u32 above_and_equal = 0;
#pragma unroll
    for (int j = 0; j < Own; j++) above_and_equal += keys[j] > threshold ? 0x10000u : keys[j] == threshold ? 1u : 0u;
    const u32 before = sum_before(above_and_equal);
    int equal = (int)(before & 0xffffu), place = (int)(before >> 16) + min(equal, rank);
#pragma unroll
    for (int j = 0; j < Own; j++) {
        const bool keep = keys[j] > threshold || (keys[j] == threshold && equal < rank);
        equal += keys[j] == threshold ? 1 : 0;
        if (!keep) continue;
        const u32 code = (a[j] < 0.0f ? 1u : 0u) | (__uint_as_float(keys[j]) - low >= 0.5f * range ? 2u : 0u);
        chosen[place++] = (u16)(Own * threadIdx.x + j | code << 12);
        a[j] -= level(low, range, code);
    }
#pragma unroll
    for (int part = 0; part < Own; part += 8) {
        float e[8];
#pragma unroll
        for (int j = 0; j < 8; j++) e[j] = a[part + j];
        store_columns(error + first + part, (int)max(0ll, min(8ll, count - first - part)), e);
    }
    __syncthreads();

    unsigned char* to = wire + (size_t)blockIdx.x * (4 + kept / 4 * 7);
    if (threadIdx.x < 4) to[threadIdx.x] = (unsigned char)((threadIdx.x < 2 ? low_bits : high_bits) >> 8 * (threadIdx.x % 2));
    for (int i = threadIdx.x; i < kept / 2; i += Threads) {
        const u32 pair = (chosen[2 * i] & 0xfffu) | (chosen[2 * i + 1] & 0xfffu) << 12;
        for (int b = 0; b < 3; b++) to[4 + 3 * i + b] = (unsigned char)(pair >> 8 * b);
    }
    for (int i = threadIdx.x; i < kept / 4; i += Threads) {
        u32 four = 0;
        for (int b = 0; b < 4; b++) four |= (u32)(chosen[4 * i + b] >> 12) << 2 * b;
        to[4 + kept / 2 * 3 + i] = (unsigned char)four;
    }
}

extern "C" __global__ void __launch_bounds__(Threads) topk_add(const unsigned char* wire, int kept, float weight, float* destination,
                                                               long long count) {
    const unsigned char* from = wire + (size_t)blockIdx.x * (4 + kept / 4 * 7);
    const float low = __uint_as_float((u32)from[0] << 16 | (u32)from[1] << 24);
    const float range = __uint_as_float((u32)from[2] << 16 | (u32)from[3] << 24) - low;
    for (int i = threadIdx.x; i < kept; i += Threads) {
        const unsigned char* pair = from + 4 + 3 * (i / 2);
        const u32 place = i % 2 ? pair[1] >> 4 | (u32)pair[2] << 4 : pair[0] | (u32)(pair[1] & 15) << 8;
        const long long at = (long long)blockIdx.x * Chunk + place;
        if (at >= count) continue;  // the last chunk may keep zeros past the end
        const u32 code = from[4 + kept / 2 * 3 + i / 4] >> 2 * (i % 4) & 3u;
        destination[at] = fmaf(weight, level(low, range, code), destination[at]);
    }
}
