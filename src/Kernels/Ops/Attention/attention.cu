// Causal grouped-query attention over packed rows [q | k | v], FlashAttention-2 style (arXiv:2307.08691) on mma.sync m16n8k16.
//   attention_forward:  o = softmax(q*k^T/sqrt(D))*v with an online softmax, logsumexp kept for backward (natural logarithm)
//   attention_delta:    delta = sum(do*o) per row and head
//   attention_gradient_kv:  dv = p^T*do,  dk = ds^T*q/sqrt(D),  ds = p*(do*v^T - delta);  one block owns 64 keys and walks the queries of
//     all heads of its group, so the sums stay in registers: no atomics, no zeroing, one order, the same bits every time
//   attention_gradient_q:   dq = ds*k/sqrt(D);  one block owns 64 queries and walks the keys (p is computed a second time: 7/5 of the FLOP)
// Shapes   qkv, grad_qkv [B*T,(H+2G)*D], output, grad_output [B*T,H*D] bf16; logsumexp, delta [B*H,T] fp32; D = 32, 64 or 128
// Math     causal FLOP: forward 2*B*H*T*T*D, backward 7*B*H*T*T*D here (5 without the second p): bound by the tensor cores
// Tiles    4 warps, 16 rows each; registers and spills in docs/kernel-registers.txt; shared bytes: 2*D times the tiles' rows
// Goal     forward 320, backward 270 TFLOP/s on an H200 at D 128, T 4096 (not measured on any card: docs/gpu-status.md)
#include "ptx.cuh"

constexpr int Rows = 64;     // rows that a block owns
constexpr int Threads = 128;
constexpr float Log2E = 1.4426950408889634f;
constexpr float Ln2 = 0.6931471805599453f;

// A tile holds rows of D elements; 16-byte chunks are swapped within a row by an XOR with the row, so that neither ldmatrix nor
// the copies meet bank conflicts. At D 32 two rows share the 128 bytes of all banks, and a row has four chunks.
template <int D>
__device__ __forceinline__ u32 tile_address(u32 tile, int row, int chunk) {
    return tile + row * (2 * D) + ((chunk ^ (D == 32 ? row / 2 & 3 : row & 7)) << 4);
}

// Copies `count` rows; those past the sequence become zeros.
template <int D>
__device__ __forceinline__ void load_tile(u32 tile, const bf16* rows, int first, int count, int tokens, int stride) {
    for (int i = threadIdx.x; i < count * (D / 8); i += Threads) {
        const int r = i / (D / 8), c = i % (D / 8);
        const bool inside = first + r < tokens;
        copy_async_16_or_zero(tile_address<D>(tile, r, c), rows + (size_t)(inside ? first + r : 0) * stride + 8 * c, inside);
    }
}

// The m16k16 fragment of rows row..row+15, columns 16*k..16*k+15.
template <int D>
__device__ __forceinline__ void load_a(u32 (&a)[4], u32 tile, int row, int k) {
    const int lane = threadIdx.x % 32;
    load_matrix_x4(a, tile_address<D>(tile, row + lane % 16, 2 * k + lane / 16));
}
// Two k16n8 fragments of x^T: rows row..row+7 of x are the columns, 16*k..16*k+31 the depth.
template <int D>
__device__ __forceinline__ void load_b_of_rows(u32 (&b)[4], u32 tile, int row, int k) {
    const int lane = threadIdx.x % 32;
    load_matrix_x4(b, tile_address<D>(tile, row + lane % 8, 2 * k + lane / 8));
}
// Two k16n8 fragments of x: rows row..row+15 are the depth, columns 8*n..8*n+15.
template <int D>
__device__ __forceinline__ void load_b_of_columns(u32 (&b)[4], u32 tile, int row, int n) {
    const int lane = threadIdx.x % 32;
    load_matrix_x4_transposed(b, tile_address<D>(tile, row + lane % 16, n + lane / 16));
}

// s[16, 8*N] = (rows row.. of a) * (rows of b)^T, depth D.
template <int D, int N>
__device__ __forceinline__ void rows_by_rows(float (&s)[N][4], u32 a_tile, int row, u32 b_tile) {
#pragma unroll
    for (int j = 0; j < N; j++)
        for (int i = 0; i < 4; i++) s[j][i] = 0.0f;
#pragma unroll
    for (int k = 0; k < D / 16; k += 2) {
        u32 a0[4], a1[4];
        load_a<D>(a0, a_tile, row, k);
        load_a<D>(a1, a_tile, row, k + 1);
#pragma unroll
        for (int j = 0; j < N; j++) {
            u32 b[4];
            load_b_of_rows<D>(b, b_tile, 8 * j, k);
            multiply_bf16(s[j], a0, b[0], b[1]);
            multiply_bf16(s[j], a1, b[2], b[3]);
        }
    }
}

// o[16, D] += p[16, 8*N] * (rows of b): an accumulator pair of p, packed, is the fragment of the next product.
template <int D, int N>
__device__ __forceinline__ void add_product(float (&o)[D / 8][4], const float (&p)[N][4], u32 b_tile) {
#pragma unroll
    for (int j = 0; j < N / 2; j++) {
        const u32 a[4] = {pack_bf16(p[2 * j][0], p[2 * j][1]), pack_bf16(p[2 * j][2], p[2 * j][3]),
                          pack_bf16(p[2 * j + 1][0], p[2 * j + 1][1]), pack_bf16(p[2 * j + 1][2], p[2 * j + 1][3])};
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) {
            u32 b[4];
            load_b_of_columns<D>(b, b_tile, 16 * j, n);
            multiply_bf16(o[n], a, b[0], b[1]);
            multiply_bf16(o[n + 1], a, b[2], b[3]);
        }
    }
}

// Writes the warp's 16 rows, scaled, to rows `stride` apart; those past the sequence are left out.
template <int D>
__device__ __forceinline__ void store_rows(bf16* rows, const float (&o)[D / 8][4], int first, int tokens, int stride, const float (&scale)[2]) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = first + lane / 4 + 8 * half;
        if (row >= tokens) continue;
        u32* to = reinterpret_cast<u32*>(rows + (size_t)row * stride + 2 * (lane % 4));
#pragma unroll
        for (int n = 0; n < D / 8; n++) to[4 * n] = pack_bf16(o[n][2 * half] * scale[half], o[n][2 * half + 1] * scale[half]);
    }
}

template <int D>
__device__ __forceinline__ void forward(const bf16* qkv, bf16* output, float* logsumexp, int tokens, int heads, int kv_heads) {
    DYNAMIC_SHARED(tiles);
    const u32 q_tile = shared_address(tiles), k_tile = q_tile + Rows * D * 2, v_tile = k_tile + Rows * D * 2;
    // The longest rows first: their blocks would otherwise be the tail of the launch.
    const int block = gridDim.x - 1 - blockIdx.x, head = blockIdx.y, sequence = blockIdx.z;
    const int kv_head = head / (heads / kv_heads), stride = (heads + 2 * kv_heads) * D, first = block * Rows;
    const bf16* q = qkv + (size_t)sequence * tokens * stride + head * D;
    const bf16* k = qkv + (size_t)sequence * tokens * stride + (heads + kv_head) * D;
    const bf16* v = k + kv_heads * D;
    const int lane = threadIdx.x % 32, own = threadIdx.x / 32 * 16;
    const float scale = Log2E * rsqrtf((float)D);

    load_tile<D>(q_tile, q, first, Rows, tokens, stride);
    load_tile<D>(k_tile, k, 0, Rows, tokens, stride);
    copy_async_commit();
    float o[D / 8][4], top[2] = {-3.0e38f, -3.0e38f}, sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (int n = 0; n < D / 8; n++)
        for (int i = 0; i < 4; i++) o[n][i] = 0.0f;

    for (int keys = 0; keys <= first; keys += Rows) {
        copy_async_wait<0>();
        __syncthreads();  // k has landed, and everyone is done with the last v
        load_tile<D>(v_tile, v, keys, Rows, tokens, stride);
        copy_async_commit();
        float s[Rows / 8][4];
        rows_by_rows<D, Rows / 8>(s, q_tile, own, k_tile);
        if (keys == first) {  // the diagonal
#pragma unroll
            for (int j = 0; j < Rows / 8; j++)
                for (int i = 0; i < 4; i++)
                    if (8 * j + 2 * (lane % 4) + i % 2 > own + lane / 4 + i / 2 * 8) s[j][i] = -3.0e38f;
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = top[half];
#pragma unroll
            for (int j = 0; j < Rows / 8; j++) most = fmaxf(most, fmaxf(s[j][2 * half], s[j][2 * half + 1]));
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
            const float shrink = exp2f((top[half] - most) * scale);
            top[half] = most;
            sum[half] *= shrink;
#pragma unroll
            for (int n = 0; n < D / 8; n++) o[n][2 * half] *= shrink, o[n][2 * half + 1] *= shrink;
#pragma unroll
            for (int j = 0; j < Rows / 8; j++)
                for (int i = 2 * half; i < 2 * half + 2; i++) {
                    s[j][i] = exp2f((s[j][i] - most) * scale);
                    sum[half] += s[j][i];
                }
        }
        copy_async_wait<0>();
        __syncthreads();  // v has landed, and everyone is done with k
        if (keys + Rows <= first) load_tile<D>(k_tile, k, keys + Rows, Rows, tokens, stride);
        copy_async_commit();
        add_product<D, Rows / 8>(o, s, v_tile);
    }

    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        sum[half] += __shfl_xor_sync(~0u, sum[half], 1);
        sum[half] += __shfl_xor_sync(~0u, sum[half], 2);
        inverse[half] = 1.0f / sum[half];
        const int row = first + own + lane / 4 + 8 * half;
        if (lane % 4 == 0 && row < tokens)
            logsumexp[(size_t)(sequence * heads + head) * tokens + row] = top[half] * scale * Ln2 + logf(sum[half]);
    }
    store_rows<D>(output + (size_t)sequence * tokens * heads * D + head * D, o, first + own, tokens, heads * D, inverse);
}

// One warp per row and head.
template <int D>
__device__ __forceinline__ void delta_of_rows(const bf16* output, const bf16* grad_output, float* delta, int tokens, int heads, int rows) {
    const int i = blockIdx.x * (Threads / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (i >= rows * heads) return;
    const size_t at = (size_t)i * D;
    float sum = 0.0f;
    for (int c = 2 * lane; c < D; c += 64) {
        const u32 o = *reinterpret_cast<const u32*>(output + at + c), g = *reinterpret_cast<const u32*>(grad_output + at + c);
        sum += low_float(o) * low_float(g) + high_float(o) * high_float(g);
    }
    sum = warp_sum(sum);
    const int row = i / heads, head = i % heads;
    if (lane == 0) delta[(size_t)(row / tokens * heads + head) * tokens + row % tokens] = sum;
}

// 64 keys against blocks of N queries: everything is transposed, so that p^T and ds^T are rows of keys in registers.
template <int D, int N>
__device__ __forceinline__ void gradient_kv(const bf16* qkv, const bf16* grad_output, const float* logsumexp, const float* delta,
                                            bf16* grad_qkv, int tokens, int heads, int kv_heads) {
    DYNAMIC_SHARED(tiles);
    SHARED(float, row_logsumexp, N);
    SHARED(float, row_delta, N);
    const u32 k_tile = shared_address(tiles), v_tile = k_tile + Rows * D * 2, q_tile = v_tile + Rows * D * 2, g_tile = q_tile + N * D * 2;
    const int first = blockIdx.x * Rows, kv_head = blockIdx.y, sequence = blockIdx.z, group = heads / kv_heads;
    const int stride = (heads + 2 * kv_heads) * D, lane = threadIdx.x % 32, own = threadIdx.x / 32 * 16;
    const bf16* rows = qkv + (size_t)sequence * tokens * stride;
    const float scale = rsqrtf((float)D);
    float dk[D / 8][4], dv[D / 8][4];
#pragma unroll
    for (int n = 0; n < D / 8; n++)
        for (int i = 0; i < 4; i++) dk[n][i] = dv[n][i] = 0.0f;

    load_tile<D>(k_tile, rows + (heads + kv_head) * D, first, Rows, tokens, stride);
    load_tile<D>(v_tile, rows + (heads + kv_heads + kv_head) * D, first, Rows, tokens, stride);
    for (int head = kv_head * group; head < (kv_head + 1) * group; head++) {
        const bf16* gradients = grad_output + (size_t)sequence * tokens * heads * D + head * D;
        const size_t statistics = (size_t)(sequence * heads + head) * tokens;
        for (int queries = first; queries < tokens; queries += N) {
            __syncthreads();  // everyone is done with the last queries
            load_tile<D>(q_tile, rows + head * D, queries, N, tokens, stride);
            load_tile<D>(g_tile, gradients, queries, N, tokens, heads * D);
            copy_async_commit();
            if (threadIdx.x < N) {
                const bool inside = queries + (int)threadIdx.x < tokens;
                row_logsumexp[threadIdx.x] = inside ? logsumexp[statistics + queries + threadIdx.x] * Log2E : 0.0f;
                row_delta[threadIdx.x] = inside ? delta[statistics + queries + threadIdx.x] : 0.0f;
            }
            copy_async_wait<0>();
            __syncthreads();
            float p[N / 8][4], ds[N / 8][4];
            rows_by_rows<D, N / 8>(p, k_tile, own, q_tile);
#pragma unroll
            for (int j = 0; j < N / 8; j++)
                for (int i = 0; i < 4; i++) {
                    const int query = 8 * j + 2 * (lane % 4) + i % 2, key = first + own + lane / 4 + i / 2 * 8;
                    const bool seen = key <= queries + query && queries + query < tokens;
                    p[j][i] = seen ? exp2f(p[j][i] * (scale * Log2E) - row_logsumexp[query]) : 0.0f;
                }
            add_product<D, N / 8>(dv, p, g_tile);
            rows_by_rows<D, N / 8>(ds, v_tile, own, g_tile);
#pragma unroll
            for (int j = 0; j < N / 8; j++)
                for (int i = 0; i < 4; i++) ds[j][i] = p[j][i] * (ds[j][i] - row_delta[8 * j + 2 * (lane % 4) + i % 2]);
            add_product<D, N / 8>(dk, ds, q_tile);
        }
    }
    bf16* to = grad_qkv + (size_t)sequence * tokens * stride;
    store_rows<D>(to + (heads + kv_head) * D, dk, first + own, tokens, stride, {scale, scale});
    store_rows<D>(to + (heads + kv_heads + kv_head) * D, dv, first + own, tokens, stride, {1.0f, 1.0f});
}

// 64 queries against blocks of N keys.
template <int D, int N>
__device__ __forceinline__ void gradient_q(const bf16* qkv, const bf16* grad_output, const float* logsumexp, const float* delta,
                                           bf16* grad_qkv, int tokens, int heads, int kv_heads) {
    DYNAMIC_SHARED(tiles);
    const u32 q_tile = shared_address(tiles), g_tile = q_tile + Rows * D * 2, k_tile = g_tile + Rows * D * 2, v_tile = k_tile + N * D * 2;
    const int block = gridDim.x - 1 - blockIdx.x, head = blockIdx.y, sequence = blockIdx.z, first = block * Rows;
    const int kv_head = head / (heads / kv_heads), stride = (heads + 2 * kv_heads) * D;
    const int lane = threadIdx.x % 32, own = threadIdx.x / 32 * 16;
    const bf16* rows = qkv + (size_t)sequence * tokens * stride;
    const size_t statistics = (size_t)(sequence * heads + head) * tokens;
    const float scale = rsqrtf((float)D);
    float dq[D / 8][4], row_logsumexp[2], row_delta[2];
#pragma unroll
    for (int n = 0; n < D / 8; n++)
        for (int i = 0; i < 4; i++) dq[n][i] = 0.0f;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = first + own + lane / 4 + 8 * half;
        row_logsumexp[half] = row < tokens ? logsumexp[statistics + row] * Log2E : 0.0f;
        row_delta[half] = row < tokens ? delta[statistics + row] : 0.0f;
    }

    load_tile<D>(q_tile, rows + head * D, first, Rows, tokens, stride);
    load_tile<D>(g_tile, grad_output + (size_t)sequence * tokens * heads * D + head * D, first, Rows, tokens, heads * D);
    for (int keys = 0; keys < first + Rows && keys < tokens; keys += N) {
        __syncthreads();  // everyone is done with the last keys
        load_tile<D>(k_tile, rows + (heads + kv_head) * D, keys, N, tokens, stride);
        load_tile<D>(v_tile, rows + (heads + kv_heads + kv_head) * D, keys, N, tokens, stride);
        copy_async_commit();
        copy_async_wait<0>();
        __syncthreads();
        float p[N / 8][4], ds[N / 8][4];
        rows_by_rows<D, N / 8>(p, q_tile, own, k_tile);
        rows_by_rows<D, N / 8>(ds, g_tile, own, v_tile);
#pragma unroll
        for (int j = 0; j < N / 8; j++)
            for (int i = 0; i < 4; i++) {
                const int key = keys + 8 * j + 2 * (lane % 4) + i % 2, query = first + own + lane / 4 + i / 2 * 8;
                const float weight = key <= query ? exp2f(p[j][i] * (scale * Log2E) - row_logsumexp[i / 2]) : 0.0f;
                ds[j][i] = weight * (ds[j][i] - row_delta[i / 2]);
            }
        add_product<D, N / 8>(dq, ds, k_tile);
    }
    store_rows<D>(grad_qkv + (size_t)sequence * tokens * stride + head * D, dq, first + own, tokens, stride, {scale, scale});
}

#define ATTENTION_KERNELS(D, N)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(Threads, 2) attention_forward_d##D(const bf16* qkv, bf16* output, float* logsumexp,\
                                                                                    int tokens, int heads, int kv_heads) {           \
        forward<D>(qkv, output, logsumexp, tokens, heads, kv_heads);                                                              \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(Threads) attention_delta_d##D(                                                   \
        const bf16* output, const bf16* grad_output, float* delta, int tokens, int heads, int rows) {                             \
        delta_of_rows<D>(output, grad_output, delta, tokens, heads, rows);                                                        \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(Threads) attention_gradient_kv_d##D(                                             \
        const bf16* qkv, const bf16* grad_output, const float* logsumexp, const float* delta, bf16* grad_qkv, int tokens,         \
        int heads, int kv_heads) {                                                                                                \
        gradient_kv<D, N>(qkv, grad_output, logsumexp, delta, grad_qkv, tokens, heads, kv_heads);                                 \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(Threads) attention_gradient_q_d##D(                                              \
        const bf16* qkv, const bf16* grad_output, const float* logsumexp, const float* delta, bf16* grad_qkv, int tokens,         \
        int heads, int kv_heads) {                                                                                                \
        gradient_q<D, N>(qkv, grad_output, logsumexp, delta, grad_qkv, tokens, heads, kv_heads);                                  \
    }

ATTENTION_KERNELS(32, 64)
ATTENTION_KERNELS(64, 64)
ATTENTION_KERNELS(128, 32)
