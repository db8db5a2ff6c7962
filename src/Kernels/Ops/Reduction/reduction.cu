// sum_of_squares, sum: over n fp32 or bf16 elements, in double, in two launches: every block sums a fixed chunk, one block adds
// the partial sums in their order. Chunks do not depend on the card, so the result has the same bits everywhere.
// Shapes   x [n]; partial [blocks] fp64; result [1] fp64
// Traffic  4*n bytes (2*n for bf16)
// Math     2 FLOP per element, products of fp32 and sums in fp64 per thread: bandwidth-bound where fp64 runs at half rate
// Goal     >= 88 % of measured copy bandwidth on A100 and H100
// Launch   256 threads, ChunkElements per block, eight neighbouring elements a thread and turn
#include "ptx.cuh"

constexpr int ChunkElements = 16384;

__device__ __forceinline__ double block_sum_double(double x) {
    SHARED(double, partials, 32);
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
    __syncthreads();
    if (threadIdx.x % 32 == 0) partials[threadIdx.x / 32] = x;
    __syncthreads();
    x = threadIdx.x % 32 < blockDim.x / 32 ? partials[threadIdx.x % 32] : 0.0;
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
    return x;
}

template <class T, bool Squares>
__device__ __forceinline__ void chunk(const T* x, double* partial, long long count) {
    const long long start = (long long)blockIdx.x * ChunkElements;
    const long long end = min(count, start + ChunkElements);
    double sum = 0.0;
    for (long long i = start + 8 * threadIdx.x; i < end; i += 8 * blockDim.x) {
        float f[8];
        load_columns(x + i, (int)min(8ll, end - i), f);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const double value = f[j];
            sum += Squares ? value * value : value;
        }
    }
    sum = block_sum_double(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(256) sum_of_squares_fp32(const float* x, double* partial, long long count) {
    chunk<float, true>(x, partial, count);
}
extern "C" __global__ void __launch_bounds__(256) sum_of_squares_bf16(const bf16* x, double* partial, long long count) {
    chunk<bf16, true>(x, partial, count);
}
extern "C" __global__ void __launch_bounds__(256) sum_fp32(const float* x, double* partial, long long count) {
    chunk<float, false>(x, partial, count);
}
extern "C" __global__ void __launch_bounds__(256) sum_bf16(const bf16* x, double* partial, long long count) {
    chunk<bf16, false>(x, partial, count);
}

extern "C" __global__ void __launch_bounds__(256) sum_partials(const double* partial, double* result, int blocks) {
    double sum = 0.0;
    for (int b = threadIdx.x; b < blocks; b += blockDim.x) sum += partial[b];
    sum = block_sum_double(sum);
    if (threadIdx.x == 0) result[0] = sum;
}
