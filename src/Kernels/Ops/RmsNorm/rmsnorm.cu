// add_rmsnorm_forward: h = x + y;  out = h * rstd * w,  rstd = 1/sqrt(mean(h*h) + eps)      RMSNorm, arXiv:1910.07467
// rmsnorm_forward: the same without y.
// Shapes   x y h out [R,C] bf16; w [C] bf16; rstd [R] fp32
// Traffic  8*R*C + 4*R + 2*C bytes (rmsnorm_forward 4*R*C): reads x, y, w once; writes h, out, rstd
// Math     5*R*C FLOP = 0.6 FLOP/byte: bandwidth-bound on every card
// Goal     >= 88 % of measured copy bandwidth
// Launch   one block per row, 16-byte accesses, the row stays in registers: C % 8 == 0, C <= 32 * blockDim
//
// rmsnorm_backward: dx (+)= rstd * (w*dy - x * rstd^2 * mean(w*dy*x));  partial[b] = sum over the block's rows of dy*x*rstd
// rmsnorm_weight_gradient: dw += the partials, eight runs of b and then the eight: one fixed order of additions, the same bits every time.
// Traffic  6*R*C bytes (8 when accumulating) + 4*blocks*C for the partials; a row stays in registers between its two turns
// Math     11*R*C FLOP = 1.8 FLOP/byte: bandwidth-bound on every card
#include "ptx.cuh"

constexpr int ChunksMost = 4;  // of 8 elements, per thread

template <bool Add>
__device__ __forceinline__ void forward(const bf16* x, const bf16* y, const bf16* w, bf16* h, bf16* out, float* rstd,
                                        int columns, float epsilon) {
    const size_t row = (size_t)blockIdx.x * columns;
    const int chunks = columns / 8;
    uint4 kept[ChunksMost], added[ChunksMost];
    // All of a thread's loads are on their way before the first is used: a branch between them would make each wait for the last.
#pragma unroll
    for (int i = 0; i < ChunksMost; i++) {
        const int c = threadIdx.x + i * blockDim.x;
        kept[i] = c < chunks ? load_8(x + row + 8 * c) : make_uint4(0, 0, 0, 0);
        if (Add) added[i] = c < chunks ? load_8(y + row + 8 * c) : make_uint4(0, 0, 0, 0);
    }
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < ChunksMost; i++) {
        const int c = threadIdx.x + i * blockDim.x;
        if (c >= chunks) break;
        float a[8];
        unpack_8(kept[i], a);
        if (Add) {
            float b[8];
            unpack_8(added[i], b);
            for (int j = 0; j < 8; j++) a[j] += b[j];
            kept[i] = pack_8(a);
            store_8(h + row + 8 * c, kept[i]);
            unpack_8(kept[i], a);  // the norm of what is stored, which is what backward reads
        }
        for (int j = 0; j < 8; j++) squares += a[j] * a[j];
    }
    const float scale = rsqrtf(block_sum(squares) / columns + epsilon);
#pragma unroll
    for (int i = 0; i < ChunksMost; i++) {
        const int c = threadIdx.x + i * blockDim.x;
        if (c >= chunks) break;
        float a[8], b[8];
        unpack_8(kept[i], a);
        unpack_8(load_8(w + 8 * c), b);
        for (int j = 0; j < 8; j++) a[j] = a[j] * scale * b[j];
        store_8(out + row + 8 * c, pack_8(a));
    }
    if (threadIdx.x == 0) rstd[blockIdx.x] = scale;
}

extern "C" __global__ void __launch_bounds__(1024) add_rmsnorm_forward(const bf16* x, const bf16* y, const bf16* w, bf16* h, bf16* out,
                                                                       float* rstd, int columns, float epsilon) {
    forward<true>(x, y, w, h, out, rstd, columns, epsilon);
}

extern "C" __global__ void __launch_bounds__(1024) rmsnorm_forward(const bf16* x, const bf16* w, bf16* out, float* rstd, int columns,
                                                                   float epsilon) {
    forward<false>(x, nullptr, w, nullptr, out, rstd, columns, epsilon);
}

// Each block takes a run of rows; a thread owns the same columns in all of them, so its weight sums stay in registers.
extern "C" __global__ void __launch_bounds__(512) rmsnorm_backward(const bf16* dy, const bf16* x, const bf16* w, const float* rstd, bf16* dx,
                                                                   float* partial, int rows, int columns, int rows_per_block,
                                                                   int accumulate) {
    const int chunks = columns / 8;
    const int first = blockIdx.x * rows_per_block, end = min(rows, first + rows_per_block);
    float sums[ChunksMost][8];
#pragma unroll
    for (int i = 0; i < ChunksMost; i++)
        for (int j = 0; j < 8; j++) sums[i][j] = 0.0f;
    for (int r = first; r < end; r++) {
        const size_t row = (size_t)r * columns;
        const float scale = rstd[r];
        float dot = 0.0f;
        uint4 kept_dy[ChunksMost], kept_x[ChunksMost], before[ChunksMost];
        // All of a thread's loads are on their way before the first is used, as in forward, and what they bring stays for the second turn.
#pragma unroll
        for (int i = 0; i < ChunksMost; i++) {
            const int c = threadIdx.x + i * blockDim.x;
            kept_dy[i] = c < chunks ? load_8(dy + row + 8 * c) : make_uint4(0, 0, 0, 0);
            kept_x[i] = c < chunks ? load_8(x + row + 8 * c) : make_uint4(0, 0, 0, 0);
            before[i] = accumulate && c < chunks ? load_8(dx + row + 8 * c) : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int i = 0; i < ChunksMost; i++) {
            const int c = threadIdx.x + i * blockDim.x;
            if (c >= chunks) break;
            float g[8], a[8], b[8];
            unpack_8(kept_dy[i], g);
            unpack_8(kept_x[i], a);
            unpack_8(load_8(w + 8 * c), b);
            for (int j = 0; j < 8; j++) {
                dot += g[j] * b[j] * a[j];
                sums[i][j] += g[j] * a[j] * scale;
            }
        }
        const float mean = block_sum(dot) / columns * scale * scale;
#pragma unroll
        for (int i = 0; i < ChunksMost; i++) {
            const int c = threadIdx.x + i * blockDim.x;
            if (c >= chunks) break;
            float g[8], a[8], b[8];
            unpack_8(kept_dy[i], g);
            unpack_8(kept_x[i], a);
            unpack_8(load_8(w + 8 * c), b);
            for (int j = 0; j < 8; j++) g[j] = scale * (b[j] * g[j] - a[j] * mean);
            if (accumulate) {
                unpack_8(before[i], a);
                for (int j = 0; j < 8; j++) g[j] += a[j];
            }
            store_8(dx + row + 8 * c, pack_8(g));
        }
    }
#pragma unroll
    for (int i = 0; i < ChunksMost; i++) {
        const int c = threadIdx.x + i * blockDim.x;
        if (c >= chunks) break;
        store_8(partial + (size_t)blockIdx.x * columns + 8 * c, sums[i]);
    }
}

// 32 columns a block: a warp adds an eighth of the partials, the first adds the eighths. One thread a column would leave most of a card idle.
extern "C" __global__ void __launch_bounds__(256) rmsnorm_weight_gradient(const float* partial, float* dw, int blocks, int columns) {
    SHARED(float, eighths, 256);
    const int lane = threadIdx.x % 32, c = blockIdx.x * 32 + lane, eighth = (blocks + 7) / 8;
    const int first = threadIdx.x / 32 * eighth, end = min(blocks, first + eighth);
    float sum = 0.0f;
    if (c < columns)
        for (int b = first; b < end; b++) sum += partial[(size_t)b * columns + c];
    eighths[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x >= 32 || c >= columns) return;
    for (int w = 1; w < 8; w++) sum += eighths[32 * w + lane];
    dw[c] += sum;
}
