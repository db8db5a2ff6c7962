// clip_scale: the factor that clips a gradient, on the device, so that the optimizer follows backward without a wait of the host.
//   norm = sqrt(sum of squares)    loss = sum of losses    scale = min(1, limit/norm), or -1 where norm or loss is not finite
//   Optimizers move nothing at a scale below zero; the host reads norm and loss when the step is over and says what went wrong.
//   The sums run in index order, so the bits are those of any device that adds the same terms.
// Shapes   squares [tensors], losses [microbatches], totals [2] fp64; scale [1] fp32
// Traffic  8 bytes a term, a few hundred terms
// Math     one fp64 addition a term, one after the other: about 8 cycles each, so 2 microseconds for 400 terms, bound by that chain
// Goal     under 5 microseconds: once a step
// Launch   one block of 256 threads: all of them load a chunk, the first adds it up
#include "ptx.cuh"

constexpr int Threads = 256;
constexpr double LargestDouble = 1.7976931348623157e308;

// The sum of terms[0 .. count) in their order, in thread 0.
__device__ __forceinline__ double sum_in_order(const double* terms, int count) {
    SHARED(double, chunk, Threads);
    double sum = 0.0;
    for (int first = 0; first < count; first += Threads) {
        const int here = min(count - first, Threads);
        __syncthreads();  // the chunk before has been added
        if ((int)threadIdx.x < here) chunk[threadIdx.x] = terms[first + threadIdx.x];
        __syncthreads();
        if (threadIdx.x == 0)
            for (int i = 0; i < here; i++) sum += chunk[i];
    }
    return sum;
}

extern "C" __global__ void __launch_bounds__(Threads) clip_scale(const double* squares, int tensors, const double* losses, int microbatches,
                                                                 double limit, double* totals, float* scale) {
    const double norm = sqrt(sum_in_order(squares, tensors)), loss = sum_in_order(losses, microbatches);
    if (threadIdx.x > 0) return;
    totals[0] = norm;
    totals[1] = loss;
    // a comparison with what is not a number is false
    const bool finite = norm <= LargestDouble && loss >= -LargestDouble && loss <= LargestDouble;
    scale[0] = !finite ? -1.0f : limit > 0.0 && norm > limit ? (float)(limit / norm) : 1.0f;
}
