// Muon around its matrix products, which are cuBLASLt's.  g = gradient*scale,  m = mu*m + g,  u = g + mu*m
//   muon_momentum:  m in place, and the sum of u*u of each chunk; sum_partials (reduction.cu) adds them in order
//   muon_direction: X = u / (|u|_F + 1e-7), computed again from m instead of being kept, transposed where rows > columns
//   five times A = X*X^T, B = b*A + c*A*A, X = a*X + B*X: products with beta, so the polynomial costs no pass of its own
//   muon_update:    w = w*(1 - lr*decay) - lr * 0.2*sqrt(max(rows, columns)) * X, on the exact master (bf16 weight and low word)
// Shapes   weight bf16, low u16, gradient, momentum fp32 [rows,columns], no gaps; x [small,large] bf16; squares [1] fp64
// Traffic  per element: momentum 12 bytes, direction 10, update 10; the products are 5*(4*small + 2*small^2/large) FLOP each
// Math     at most 6 FLOP per element in these passes: bandwidth-bound; the products are bound by the tensor cores
// Goal     >= 88 % of measured copy bandwidth for momentum; the transposing passes are a small part of an optimizer step
// Launch   momentum: 256 threads per chunk of 16384; direction, update: 256 threads per tile of 32 x 32.  What changes from step
//          to step lies in `settings` and `scale`, in device memory; at a scale below zero nothing moves
#include "ptx.cuh"

struct Settings {
    float learning_rate, momentum, weight_decay;
};

constexpr int ChunkElements = 16384;
constexpr int Tile = 32;
constexpr int Threads = 256;

extern "C" __global__ void __launch_bounds__(Threads) muon_momentum(const float* gradient, float* momentum, const Settings* settings,
                                                                    const float* gradient_scale, double* partial, long long count) {
    SHARED(double, partials, Threads / 32);
    const Settings s = *settings;
    const float scale = *gradient_scale;
    const long long start = (long long)blockIdx.x * ChunkElements, end = scale < 0.0f ? start : min(count, start + ChunkElements);
    double squares = 0.0;
    for (long long i = start + 8 * threadIdx.x; i < end; i += 8 * Threads) {
        const int here = (int)min(8ll, end - i);
        float g[8], m[8];
        load_columns(gradient + i, here, g);
        load_columns(momentum + i, here, m);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const float scaled = g[j] * scale;
            m[j] = fmaf(s.momentum, m[j], scaled);
            const float u = fmaf(s.momentum, m[j], scaled);
            if (j < here) squares += (double)u * u;
        }
        store_columns(momentum + i, here, m);
    }
    for (int lanes = 16; lanes > 0; lanes /= 2) squares += __shfl_xor_sync(~0u, squares, lanes);
    if (threadIdx.x % 32 == 0) partials[threadIdx.x / 32] = squares;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int w = 1; w < Threads / 32; w++) squares += partials[w];
    partial[blockIdx.x] = squares;
}

// The tile of this block and, for each of its turns, one of its elements: (row, column) of the weight, neighbours in a row side by side.
struct TileWalk {
    int row, column, local_row, local_column;
    __device__ __forceinline__ TileWalk(int turn) {
        local_column = threadIdx.x % Tile;
        local_row = threadIdx.x / Tile + turn * (Threads / Tile);
        row = blockIdx.y * Tile + local_row;
        column = blockIdx.x * Tile + local_column;
    }
};
constexpr int Turns = Tile * Tile / Threads;

extern "C" __global__ void __launch_bounds__(Threads) muon_direction(const float* gradient, const float* momentum, const Settings* settings,
                                                                     const float* gradient_scale, const double* squares, bf16* x, int rows,
                                                                     int columns) {
    SHARED(float, tile, Tile * (Tile + 1));  // one column more, so that a column's elements lie in different banks
    const float unit = (float)(1.0 / (sqrt(squares[0]) + 1e-7));
    const float scale = *gradient_scale, mu = settings->momentum;
    const bool tall = rows > columns;
#pragma unroll
    for (int turn = 0; turn < Turns; turn++) {
        const TileWalk at(turn);
        if (at.row >= rows || at.column >= columns) continue;
        const size_t i = (size_t)at.row * columns + at.column;
        const float u = fmaf(mu, momentum[i], gradient[i] * scale) * unit;
        if (tall) tile[at.local_row * (Tile + 1) + at.local_column] = u;
        else x[i] = to_bf16(u);
    }
    if (!tall) return;
    __syncthreads();
#pragma unroll
    for (int turn = 0; turn < Turns; turn++) {
        const TileWalk at(turn);  // of the transposed tile
        const int row = blockIdx.y * Tile + at.local_column, column = blockIdx.x * Tile + at.local_row;
        if (row < rows && column < columns) x[(size_t)column * rows + row] = to_bf16(tile[at.local_column * (Tile + 1) + at.local_row]);
    }
}

extern "C" __global__ void __launch_bounds__(Threads) muon_update(u16* weight, u16* low, const bf16* x, const Settings* settings,
                                                                  const float* gradient_scale, int rows, int columns) {
    SHARED(float, tile, Tile * (Tile + 1));
    if (*gradient_scale < 0.0f) return;
    const Settings s = *settings;
    const float keep = 1.0f - s.learning_rate * s.weight_decay, rate = s.learning_rate * 0.2f * sqrtf((float)max(rows, columns));
    const bool tall = rows > columns;
    if (tall) {
#pragma unroll
        for (int turn = 0; turn < Turns; turn++) {
            const TileWalk at(turn);
            const int row = blockIdx.y * Tile + at.local_column, column = blockIdx.x * Tile + at.local_row;
            if (row < rows && column < columns) tile[at.local_column * (Tile + 1) + at.local_row] = to_float(x[(size_t)column * rows + row]);
        }
        __syncthreads();
    }
#pragma unroll
    for (int turn = 0; turn < Turns; turn++) {
        const TileWalk at(turn);
        if (at.row >= rows || at.column >= columns) continue;
        const size_t i = (size_t)at.row * columns + at.column;
        const float direction = tall ? tile[at.local_row * (Tile + 1) + at.local_column] : to_float(x[i]);
        const float w = __uint_as_float(join_master(weight[i], low[i]));
        u32 high, left;
        split_master(__float_as_uint(w * keep - rate * direction), high, left);
        weight[i] = (u16)high;
        low[i] = (u16)left;
    }
}
