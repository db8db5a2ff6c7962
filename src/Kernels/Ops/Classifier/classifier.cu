// cross_entropy: loss = logsumexp(logits) - logits[target];  dlogits = (softmax(logits) - onehot(target)) * scale, in place.
// Maximum and sum in one read (online softmax, arXiv:1805.02867); the second read comes from L2. A negative target gives loss 0
// and gradient 0. Rows run in reverse, so the last rows of the product that made the logits are still in L2.
// Shapes   logits [R,V] bf16, rows `stride` apart; targets [R] int32; losses [R] fp32
// Traffic  4*R*V bytes (2*R*V without gradients), the second read not counted
// Math     about 8 FLOP and 2 exponentials per element: bandwidth-bound
// Goal     >= 85 % of measured copy bandwidth
// Launch   one block per row, 16-byte accesses over whole chunks of 8, the tail one by one: stride % 8 == 0
#include "ptx.cuh"

constexpr float Log2E = 1.4426950408889634f;

// (maximum, sum of 2^((x - maximum) * log2(e))) of two parts of a row.
__device__ __forceinline__ void merge(float& m, float& s, float m2, float s2) {
    const float top = fmaxf(m, m2);
    s = s * fast_exp2((m - top) * Log2E) + s2 * fast_exp2((m2 - top) * Log2E);
    m = top;
}

extern "C" __global__ void __launch_bounds__(1024) cross_entropy(bf16* logits, const int* targets, float* losses, int vocabulary,
                                                                 int stride, float scale, int write_gradient) {
    SHARED(float, maxima, 32);
    SHARED(float, sums, 32);
    const int row = gridDim.x - 1 - blockIdx.x;
    bf16* x = logits + (size_t)row * stride;
    const int target = targets[row], chunks = vocabulary / 8, tail = vocabulary % 8;
    const int warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32;

    // A finite floor: no thread, not even one without elements, may bring infinity minus infinity.
    float m = -3.0e38f, s = 0.0f;
    const auto take = [&](uint4 chunk) {
        float v[8];
        unpack_8(chunk, v);
        float top = v[0], part = 0.0f;
        for (int j = 1; j < 8; j++) top = fmaxf(top, v[j]);
        for (int j = 0; j < 8; j++) part += fast_exp2((v[j] - top) * Log2E);
        merge(m, s, top, part);
    };
    // Two chunks of a thread are on their way before the first is used: one each would keep a card's memory waiting.
    for (int c = threadIdx.x; c < chunks; c += 2 * blockDim.x) {
        const int next = c + blockDim.x;
        const uint4 here = load_8(x + 8 * c), there = next < chunks ? load_8(x + 8 * next) : make_uint4(0, 0, 0, 0);
        take(here);
        if (next < chunks) take(there);
    }
    if ((int)threadIdx.x < tail) merge(m, s, to_float(x[8 * chunks + threadIdx.x]), 1.0f);
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        const float m2 = __shfl_xor_sync(~0u, m, lanes), s2 = __shfl_xor_sync(~0u, s, lanes);
        merge(m, s, m2, s2);
    }
    if (lane == 0) maxima[warp] = m, sums[warp] = s;
    const float target_logit = target >= 0 ? to_float(x[target]) : 0.0f;
    __syncthreads();
    m = maxima[0], s = sums[0];
    for (int w = 1; w < warps; w++) merge(m, s, maxima[w], sums[w]);

    if (threadIdx.x == 0) losses[row] = target >= 0 ? m + logf(s) - target_logit : 0.0f;
    if (!write_gradient) return;
    const float factor = target >= 0 ? scale / s : 0.0f;
    const auto turn = [&](uint4 chunk, int c) {
        float v[8];
        unpack_8(chunk, v);
        for (int j = 0; j < 8; j++) {
            v[j] = factor * fast_exp2((v[j] - m) * Log2E);
            if (8 * c + j == target) v[j] -= scale;
        }
        store_8(x + 8 * c, pack_8(v));
    };
    for (int c = threadIdx.x; c < chunks; c += 2 * blockDim.x) {
        const int next = c + blockDim.x;
        const uint4 here = load_8(x + 8 * c), there = next < chunks ? load_8(x + 8 * next) : make_uint4(0, 0, 0, 0);
        turn(here, c);
        if (next < chunks) turn(there, next);
    }
    if ((int)threadIdx.x < tail) {
        const int c = 8 * chunks + threadIdx.x;
        const float p = factor * fast_exp2((to_float(x[c]) - m) * Log2E);
        x[c] = to_bf16(c == target ? p - scale : p);
    }
}
