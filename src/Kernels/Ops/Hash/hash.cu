// hash_weights: do two replicas hold the same bits? A sum, so the order of threads and devices does not matter, of terms that
// mix each weight's bits with its place:   hash += sum over i of mix(bits(w_i) + (first + i + 1) * 0x9E3779B97F4A7C15)   mod 2^64
//   mix is splitmix64's finalizer (Steele et al. 2014): it finds accidents, not forgeries.
// The weight is the exact fp32 master, given as bf16 and low word or as fp32, so a CPU and a GPU peer get the same hash.
// Shapes   weight n elements; hash [1] u64, zeroed by the caller before the first tensor
// Traffic  4*n bytes
// Math     about 30 integer operations per element (two 64-bit products): bound by them on a card with more than 2 TB/s
// Goal     >= 60 % of measured copy bandwidth; once per step or round, beside a download of all weights that it replaces
// Launch   one thread per 8 elements, in blocks of 256, one 64-bit atomic per warp
#include "ptx.cuh"

__device__ __forceinline__ u64 mix(u64 z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

__device__ __forceinline__ u64 term(u32 bits, u64 place) { return mix(bits + (place + 1) * 0x9E3779B97F4A7C15ull); }

// Eight neighbouring elements, or those that are left of them.
template <class Bits>
__device__ __forceinline__ void hash(u64* to, long long first, long long count, Bits bits) {
    const long long at = 8 * ((long long)blockIdx.x * blockDim.x + threadIdx.x);
    u32 words[8];
    bits(at, (int)max(0ll, min(8ll, count - at)), words);
    u64 sum = 0;
#pragma unroll
    for (int j = 0; j < 8; j++)
        if (at + j < count) sum += term(words[j], (u64)(first + at + j));
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
    if (threadIdx.x % 32 == 0) atomicAdd(to, sum);
}

extern "C" __global__ void __launch_bounds__(256) hash_weights(const u16* high, const u16* low, u64* to, long long first, long long count) {
    hash(to, first, count, [=](long long at, int here, u32(&words)[8]) {
        if (here == 8 && aligned_16(high + at) && aligned_16(low + at)) {
            const uint4 h = *reinterpret_cast<const uint4*>(high + at), l = *reinterpret_cast<const uint4*>(low + at);
            const u32 upper[4] = {h.x, h.y, h.z, h.w}, lower[4] = {l.x, l.y, l.z, l.w};
#pragma unroll
            for (int j = 0; j < 8; j++)
                words[j] = j % 2 ? join_master(upper[j / 2] >> 16, lower[j / 2] >> 16) : join_master(upper[j / 2], lower[j / 2]);
            return;
        }
#pragma unroll
        for (int j = 0; j < 8; j++) words[j] = j < here ? join_master(high[at + j], low[at + j]) : 0u;
    });
}

extern "C" __global__ void __launch_bounds__(256) hash_weights_fp32(const float* weight, u64* to, long long first, long long count) {
    hash(to, first, count, [=](long long at, int here, u32(&words)[8]) {
        float f[8];
        load_columns(weight + at, here, f);
#pragma unroll
        for (int j = 0; j < 8; j++) words[j] = __float_as_uint(f[j]);
    });
}
