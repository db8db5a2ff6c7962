// Causal grouped-query attention over packed rows [q | k | v], FlashAttention-2 style (arXiv:2307.08691) on mma.sync m16n8k16.
//   attention_forward:  o = softmax(q*k^T/sqrt(D))*v with an online softmax, logsumexp kept for backward (natural logarithm)
//   attention_delta:    delta = sum(do*o) per row and head
//   attention_gradient_kv:  dv = p^T*do,  dk = ds^T*q/sqrt(D),  ds = p*(do*v^T - delta);  one block owns its keys and walks the queries
//     of all heads of its group, so the sums stay in registers: no atomics, no zeroing, one order, the same bits every time
//   attention_gradient_q:   dq = ds*k/sqrt(D);  one block owns 128 queries and walks the keys (p is computed a second time: 7/5 of the FLOP)
// Both epilogues turn dk and dq back by their positions, while they are fp32 in registers (with a table; null: they do not): the halves
// of a pair, D/2 columns apart, are accumulators of one thread. A pass over the gradients, 4*B*T*(H+G)*D bytes, falls away.
// Shapes   qkv, grad_qkv [B*T,(H+2G)*D], output, grad_output [B*T,H*D] bf16; logsumexp, delta [B*H,T] fp32; D = 32, 64 or 128
//          angles [positions, D] fp32: D/2 cosines, then D/2 sines, of the positions start, start+1, ...
// Math     causal FLOP: forward 2*B*H*T*T*D, backward 7*B*H*T*T*D here (5 without the second p): bound by the tensor cores
// Tiles    4 warps of 32 rows each (16 in gradient_kv at D 128, whose sums would not fit the registers). A fragment of the other operand
//          feeds two products then: 128 bytes of shared memory an mma of a warp instead of 256. Backward loads the next step while
//          it computes on this one. Registers and spills in docs/kernel-registers.txt; shared bytes: AttentionTiles in Attention.Cuda.cs
// Goal     forward 320, backward 270 TFLOP/s on an H200 at D 128, T 4096 (not measured on any card: docs/gpu-status.md). Predicted from
//          128 bytes of shared memory a clock and SM: forward is capped at 80 % of the card's peak (44 % with 16 rows a warp), above
//          the 62 % that mma.sync reaches there; gradient_kv at 40 % and gradient_q at 43 %, so backward at 290 and likely below its goal
#include "ptx.cuh"

constexpr int Threads = 128;
constexpr int Keys = 64;  // of a step in forward
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
// Two k16n8 fragments of x^T: rows row..row+15 of x are the columns, 16*k..16*k+15 the depth.
template <int D>
__device__ __forceinline__ void load_b_of_rows(u32 (&b)[4], u32 tile, int row, int k) {
    const int lane = threadIdx.x % 32;
    load_matrix_x4(b, tile_address<D>(tile, row + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
}
// Two k16n8 fragments of x: rows row..row+15 are the depth, columns 8*n..8*n+15.
template <int D>
__device__ __forceinline__ void load_b_of_columns(u32 (&b)[4], u32 tile, int row, int n) {
    const int lane = threadIdx.x % 32;
    load_matrix_x4_transposed(b, tile_address<D>(tile, row + lane % 16, n + lane / 16));
}

// s[16*M, 8*N] = (rows row.. of a) * (rows of b)^T, depth D. A fragment of b feeds M products.
template <int D, int N, int M>
__device__ __forceinline__ void rows_by_rows(float (&s)[M][N][4], u32 a_tile, int row, u32 b_tile) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int j = 0; j < N; j++)
            for (int i = 0; i < 4; i++) s[m][j][i] = 0.0f;
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        u32 a[M][4];
#pragma unroll
        for (int m = 0; m < M; m++) load_a<D>(a[m], a_tile, row + 16 * m, k);
#pragma unroll
        for (int j = 0; j < N; j += 2) {
            u32 b[4];
            load_b_of_rows<D>(b, b_tile, 8 * j, k);
#pragma unroll
            for (int m = 0; m < M; m++) {
                multiply_bf16(s[m][j], a[m], b[0], b[1]);
                multiply_bf16(s[m][j + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// o[16*M, D] += p[16*M, 8*N] * (rows of b): an accumulator pair of p, packed, is the fragment of the next product.
template <int D, int N, int M>
__device__ __forceinline__ void add_product(float (&o)[M][D / 8][4], const float (&p)[M][N][4], u32 b_tile) {
#pragma unroll
    for (int j = 0; j < N / 2; j++) {
        u32 a[M][4];
#pragma unroll
        for (int m = 0; m < M; m++)
            for (int i = 0; i < 4; i++) a[m][i] = pack_bf16(p[m][2 * j + i / 2][i % 2 * 2], p[m][2 * j + i / 2][i % 2 * 2 + 1]);
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) {
            u32 b[4];
            load_b_of_columns<D>(b, b_tile, 16 * j, n);
#pragma unroll
            for (int m = 0; m < M; m++) {
                multiply_bf16(o[m][n], a[m], b[0], b[1]);
                multiply_bf16(o[m][n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

template <int D, int M>
__device__ __forceinline__ void clear(float (&o)[M][D / 8][4]) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < D / 8; n++)
            for (int i = 0; i < 4; i++) o[m][n][i] = 0.0f;
}

// Writes the warp's rows, scaled, to rows `stride` apart; those past the sequence are left out.
template <int D, int M>
__device__ __forceinline__ void store_rows(bf16* rows, const float (&o)[M][D / 8][4], int first, int tokens, int stride, const float (&scale)[M][2]) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2 * M; half++) {
        const int m = half / 2, i = half % 2 * 2, row = first + lane / 4 + 8 * half;
        if (row >= tokens) continue;
        u32* to = reinterpret_cast<u32*>(rows + (size_t)row * stride + 2 * (lane % 4));
#pragma unroll
        for (int n = 0; n < D / 8; n++) to[4 * n] = pack_bf16(o[m][n][i] * scale[m][half % 2], o[m][n][i + 1] * scale[m][half % 2]);
    }
}

// The same with one scale, turned back by the angles of the rows' positions where there are angles.
template <int D, int M>
__device__ __forceinline__ void store_turned_back(bf16* rows, float (&o)[M][D / 8][4], int first, int tokens, int stride, float scale, const float* angles) {
    const int lane = threadIdx.x % 32;
    float scales[M][2];
#pragma unroll
    for (int m = 0; m < M; m++) scales[m][0] = scales[m][1] = scale;
    if (angles != nullptr) {
#pragma unroll
        for (int half = 0; half < 2 * M; half++) {
            const int m = half / 2, row = first + lane / 4 + 8 * half;
            if (row >= tokens) continue;
            const float* at = angles + (size_t)row * D + 2 * (lane % 4);
#pragma unroll
            for (int n = 0; n < D / 16; n++) {
                const float2 cosines = *reinterpret_cast<const float2*>(at + 8 * n), sines = *reinterpret_cast<const float2*>(at + 8 * n + D / 2);
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float &x = o[m][n][half % 2 * 2 + i], &y = o[m][n + D / 16][half % 2 * 2 + i];
                    const float c = i == 0 ? cosines.x : cosines.y, s = i == 0 ? sines.x : sines.y, turned = x * c + y * s;
                    y = y * c - x * s;
                    x = turned;
                }
            }
        }
    }
    store_rows<D, M>(rows, o, first, tokens, stride, scales);
}

template <int D, int M>
__device__ __forceinline__ void forward(const bf16* qkv, bf16* output, float* logsumexp, int tokens, int heads, int kv_heads) {
    DYNAMIC_SHARED(tiles);
    constexpr int Rows = 64 * M;
    const u32 q_tile = shared_address(tiles), k_tile = q_tile + Rows * D * 2, v_tile = k_tile + Keys * D * 2;
    // The longest rows first: their blocks would otherwise be the tail of the launch.
    const int block = gridDim.x - 1 - blockIdx.x, head = blockIdx.y, sequence = blockIdx.z;
    const int kv_head = head / (heads / kv_heads), stride = (heads + 2 * kv_heads) * D, first = block * Rows;
    const bf16* q = qkv + (size_t)sequence * tokens * stride + head * D;
    const bf16* k = qkv + (size_t)sequence * tokens * stride + (heads + kv_head) * D;
    const bf16* v = k + kv_heads * D;
    const int lane = threadIdx.x % 32, own = threadIdx.x / 32 * 16 * M, end = min(first + Rows, tokens);
    const float scale = Log2E * rsqrtf((float)D);

    load_tile<D>(q_tile, q, first, Rows, tokens, stride);
    load_tile<D>(k_tile, k, 0, Keys, tokens, stride);
    copy_async_commit();
    float o[M][D / 8][4], top[M][2], sum[M][2];
    clear<D, M>(o);
#pragma unroll
    for (int half = 0; half < 2 * M; half++) top[half / 2][half % 2] = -3.0e38f, sum[half / 2][half % 2] = 0.0f;

    for (int keys = 0; keys < end; keys += Keys) {
        const bool sees = keys < first + own + 16 * M;  // the last keys may be past all rows of a warp
        copy_async_wait<0>();
        __syncthreads();  // k has landed, and everyone is done with the last v
        load_tile<D>(v_tile, v, keys, Keys, tokens, stride);
        copy_async_commit();
        float s[M][Keys / 8][4];
        if (sees) {
            rows_by_rows<D, Keys / 8, M>(s, q_tile, own, k_tile);
            if (keys + Keys > first + own + 1) {  // the diagonal
#pragma unroll
                for (int m = 0; m < M; m++)
#pragma unroll
                    for (int j = 0; j < Keys / 8; j++)
                        for (int i = 0; i < 4; i++)
                            if (keys + 8 * j + 2 * (lane % 4) + i % 2 > first + own + 16 * m + lane / 4 + i / 2 * 8) s[m][j][i] = -3.0e38f;
            }
#pragma unroll
            for (int half = 0; half < 2 * M; half++) {
                const int m = half / 2, e = half % 2 * 2;
                float &highest = top[m][half % 2], &total = sum[m][half % 2], most = highest;
#pragma unroll
                for (int j = 0; j < Keys / 8; j++) most = fmaxf(most, fmaxf(s[m][j][e], s[m][j][e + 1]));
                most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
                most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
                const float shrink = exp2f((highest - most) * scale), shift = most * scale;
                highest = most;
                total *= shrink;
#pragma unroll
                for (int n = 0; n < D / 8; n++) o[m][n][e] *= shrink, o[m][n][e + 1] *= shrink;
#pragma unroll
                for (int j = 0; j < Keys / 8; j++)
                    for (int i = e; i < e + 2; i++) {
                        s[m][j][i] = exp2f(s[m][j][i] * scale - shift);
                        total += s[m][j][i];
                    }
            }
        }
        copy_async_wait<0>();
        __syncthreads();  // v has landed, and everyone is done with k
        if (keys + Keys < end) load_tile<D>(k_tile, k, keys + Keys, Keys, tokens, stride);
        copy_async_commit();
        if (sees) add_product<D, Keys / 8, M>(o, s, v_tile);
    }

    float inverse[M][2];
#pragma unroll
    for (int half = 0; half < 2 * M; half++) {
        float& total = sum[half / 2][half % 2];
        total += __shfl_xor_sync(~0u, total, 1);
        total += __shfl_xor_sync(~0u, total, 2);
        inverse[half / 2][half % 2] = 1.0f / total;
        const int row = first + own + lane / 4 + 8 * half;
        if (lane % 4 == 0 && row < tokens)
            logsumexp[(size_t)(sequence * heads + head) * tokens + row] = top[half / 2][half % 2] * scale * Ln2 + logf(total);
    }
    store_rows<D, M>(output + (size_t)sequence * tokens * heads * D + head * D, o, first + own, tokens, heads * D, inverse);
}

// D/8 lanes per row and head, 16 bytes of each operand a lane.
template <int D>
__device__ __forceinline__ void delta_of_rows(const bf16* output, const bf16* grad_output, float* delta, int tokens, int heads, int rows) {
    constexpr int Lanes = D / 8;
    const int i = blockIdx.x * (Threads / Lanes) + threadIdx.x / Lanes, c = 8 * (threadIdx.x % Lanes);
    const bool inside = i < rows * heads;
    float sum = 0.0f;
    if (inside) {
        float o[8], g[8];
        unpack_8(load_8(output + (size_t)i * D + c), o);
        unpack_8(load_8(grad_output + (size_t)i * D + c), g);
        for (int j = 0; j < 8; j++) sum += o[j] * g[j];
    }
    for (int lanes = Lanes / 2; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(~0u, sum, lanes);
    if (inside && c == 0) delta[((size_t)(i / heads / tokens) * heads + i % heads) * tokens + i / heads % tokens] = sum;
}

// 64*M keys against steps of `Step` queries: everything is transposed, so that p^T and ds^T are rows of keys in registers.
template <int D, int M, int Step>
__device__ __forceinline__ void gradient_kv(const bf16* qkv, const bf16* grad_output, const float* logsumexp, const float* delta,
                                            const float* angles, bf16* grad_qkv, int tokens, int heads, int kv_heads) {
    DYNAMIC_SHARED(tiles);
    SHARED(float, row_logsumexp, 2 * Step);
    SHARED(float, row_delta, 2 * Step);
    constexpr int Rows = 64 * M;
    const u32 k_tile = shared_address(tiles), v_tile = k_tile + Rows * D * 2, q_tiles = v_tile + Rows * D * 2, g_tiles = q_tiles + 2 * Step * D * 2;
    const int first = blockIdx.x * Rows, kv_head = blockIdx.y, sequence = blockIdx.z, group = heads / kv_heads;
    const int stride = (heads + 2 * kv_heads) * D, lane = threadIdx.x % 32, own = threadIdx.x / 32 * 16 * M;
    const bf16* rows = qkv + (size_t)sequence * tokens * stride;
    const float scale = rsqrtf((float)D);
    float dk[M][D / 8][4], dv[M][D / 8][4];
    clear<D, M>(dk);
    clear<D, M>(dv);

    // Step t is queries first + t % of_head * Step of head t / of_head of the group; two buffers take turns.
    const int of_head = (tokens - first + Step - 1) / Step, steps = of_head * group;
    const auto load_step = [&](int t) {
        const int head = kv_head * group + t / of_head, queries = first + t % of_head * Step, buffer = t % 2;
        load_tile<D>(q_tiles + buffer * Step * D * 2, rows + head * D, queries, Step, tokens, stride);
        load_tile<D>(g_tiles + buffer * Step * D * 2, grad_output + (size_t)sequence * tokens * heads * D + head * D, queries, Step, tokens, heads * D);
        if (threadIdx.x < 2 * Step) {
            const int query = queries + threadIdx.x % Step;
            const size_t at = (size_t)(sequence * heads + head) * tokens + min(query, tokens - 1);
            float* to = threadIdx.x < Step ? row_logsumexp : row_delta;
            copy_async_4_or_zero(shared_address(to + buffer * Step + threadIdx.x % Step), (threadIdx.x < Step ? logsumexp : delta) + at, query < tokens);
        }
        copy_async_commit();
    };
    load_tile<D>(k_tile, rows + (heads + kv_head) * D, first, Rows, tokens, stride);
    load_tile<D>(v_tile, rows + (heads + kv_heads + kv_head) * D, first, Rows, tokens, stride);
    load_step(0);
    for (int t = 0; t < steps; t++) {
        copy_async_wait<0>();
        __syncthreads();  // this step has landed, and everyone is done with the one before
        if (t + 1 < steps) load_step(t + 1);
        const int queries = first + t % of_head * Step;
        if (queries + Step <= first + own) continue;  // before all keys of this warp
        const u32 q_tile = q_tiles + t % 2 * Step * D * 2, g_tile = g_tiles + t % 2 * Step * D * 2;
        const float *step_logsumexp = row_logsumexp + t % 2 * Step, *step_delta = row_delta + t % 2 * Step;
        float p[M][Step / 8][4], ds[M][Step / 8][4];
        rows_by_rows<D, Step / 8, M>(p, k_tile, own, q_tile);
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int j = 0; j < Step / 8; j++)
                for (int i = 0; i < 4; i++) {
                    const int query = 8 * j + 2 * (lane % 4) + i % 2, key = first + own + 16 * m + lane / 4 + i / 2 * 8;
                    const bool seen = key <= queries + query && queries + query < tokens;
                    p[m][j][i] = seen ? exp2f((p[m][j][i] * scale - step_logsumexp[query]) * Log2E) : 0.0f;
                }
        add_product<D, Step / 8, M>(dv, p, g_tile);
        rows_by_rows<D, Step / 8, M>(ds, v_tile, own, g_tile);
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int j = 0; j < Step / 8; j++)
                for (int i = 0; i < 4; i++) ds[m][j][i] = p[m][j][i] * (ds[m][j][i] - step_delta[8 * j + 2 * (lane % 4) + i % 2]);
        add_product<D, Step / 8, M>(dk, ds, q_tile);
    }
    bf16* to = grad_qkv + (size_t)sequence * tokens * stride;
    store_turned_back<D, M>(to + (heads + kv_head) * D, dk, first + own, tokens, stride, scale, angles);
    store_turned_back<D, M>(to + (heads + kv_heads + kv_head) * D, dv, first + own, tokens, stride, 1.0f, nullptr);
}

// 64*M queries against steps of `Step` keys.
template <int D, int M, int Step>
__device__ __forceinline__ void gradient_q(const bf16* qkv, const bf16* grad_output, const float* logsumexp, const float* delta,
                                           const float* angles, bf16* grad_qkv, int tokens, int heads, int kv_heads) {
    DYNAMIC_SHARED(tiles);
    constexpr int Rows = 64 * M;
    const u32 q_tile = shared_address(tiles), g_tile = q_tile + Rows * D * 2, k_tiles = g_tile + Rows * D * 2, v_tiles = k_tiles + 2 * Step * D * 2;
    const int block = gridDim.x - 1 - blockIdx.x, head = blockIdx.y, sequence = blockIdx.z, first = block * Rows;
    const int kv_head = head / (heads / kv_heads), stride = (heads + 2 * kv_heads) * D;
    const int lane = threadIdx.x % 32, own = threadIdx.x / 32 * 16 * M;
    const bf16* rows = qkv + (size_t)sequence * tokens * stride;
    const size_t statistics = (size_t)(sequence * heads + head) * tokens;
    const float scale = rsqrtf((float)D);
    float dq[M][D / 8][4], row_logsumexp[M][2], row_delta[M][2];
    clear<D, M>(dq);
#pragma unroll
    for (int half = 0; half < 2 * M; half++) {
        const int row = first + own + lane / 4 + 8 * half;
        row_logsumexp[half / 2][half % 2] = row < tokens ? logsumexp[statistics + row] * Log2E : 0.0f;
        row_delta[half / 2][half % 2] = row < tokens ? delta[statistics + row] : 0.0f;
    }

    const int steps = (min(first + Rows, tokens) + Step - 1) / Step;
    const auto load_step = [&](int t) {
        load_tile<D>(k_tiles + t % 2 * Step * D * 2, rows + (heads + kv_head) * D, t * Step, Step, tokens, stride);
        load_tile<D>(v_tiles + t % 2 * Step * D * 2, rows + (heads + kv_heads + kv_head) * D, t * Step, Step, tokens, stride);
        copy_async_commit();
    };
    load_tile<D>(q_tile, rows + head * D, first, Rows, tokens, stride);
    load_tile<D>(g_tile, grad_output + (size_t)sequence * tokens * heads * D + head * D, first, Rows, tokens, heads * D);
    load_step(0);
    for (int t = 0; t < steps; t++) {
        copy_async_wait<0>();
        __syncthreads();  // this step has landed, and everyone is done with the one before
        if (t + 1 < steps) load_step(t + 1);
        if (t * Step >= first + own + 16 * M) continue;  // past all queries of this warp
        const u32 k_tile = k_tiles + t % 2 * Step * D * 2, v_tile = v_tiles + t % 2 * Step * D * 2;
        float p[M][Step / 8][4], ds[M][Step / 8][4];
        rows_by_rows<D, Step / 8, M>(p, q_tile, own, k_tile);
        rows_by_rows<D, Step / 8, M>(ds, g_tile, own, v_tile);
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int j = 0; j < Step / 8; j++)
                for (int i = 0; i < 4; i++) {
                    const int key = t * Step + 8 * j + 2 * (lane % 4) + i % 2, query = first + own + 16 * m + lane / 4 + i / 2 * 8;
                    const float weight = key <= query ? exp2f(p[m][j][i] * (scale * Log2E) - row_logsumexp[m][i / 2]) : 0.0f;
                    ds[m][j][i] = weight * (ds[m][j][i] - row_delta[m][i / 2]);
                }
        add_product<D, Step / 8, M>(dq, ds, k_tile);
    }
    store_turned_back<D, M>(grad_qkv + (size_t)sequence * tokens * stride + head * D, dq, first + own, tokens, stride, scale, angles);
}

#define ATTENTION_KERNELS(D, KeyTiles, KeysOfStep)                                                                                \
    extern "C" __global__ void __launch_bounds__(Threads, 2) attention_forward_d##D(const bf16* qkv, bf16* output, float* logsumexp,\
                                                                                    int tokens, int heads, int kv_heads) {           \
        forward<D, 2>(qkv, output, logsumexp, tokens, heads, kv_heads);                                                           \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(Threads) attention_delta_d##D(                                                   \
        const bf16* output, const bf16* grad_output, float* delta, int tokens, int heads, int rows) {                             \
        delta_of_rows<D>(output, grad_output, delta, tokens, heads, rows);                                                        \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(Threads, 2) attention_gradient_kv_d##D(                                          \
        const bf16* qkv, const bf16* grad_output, const float* logsumexp, const float* delta, const float* angles,                \
        bf16* grad_qkv, int tokens, int heads, int kv_heads) {                                                                    \
        gradient_kv<D, KeyTiles, 32>(qkv, grad_output, logsumexp, delta, angles, grad_qkv, tokens, heads, kv_heads);                  \
    }                                                                                                                             \
    extern "C" __global__ void __launch_bounds__(Threads, 2) attention_gradient_q_d##D(                                           \
        const bf16* qkv, const bf16* grad_output, const float* logsumexp, const float* delta, const float* angles,                \
        bf16* grad_qkv, int tokens, int heads, int kv_heads) {                                                                    \
        gradient_q<D, 2, KeysOfStep>(qkv, grad_output, logsumexp, delta, angles, grad_qkv, tokens, heads, kv_heads);                          \
    }

ATTENTION_KERNELS(32, 2, 32)
ATTENTION_KERNELS(64, 2, 32)
ATTENTION_KERNELS(128, 1, 16)
