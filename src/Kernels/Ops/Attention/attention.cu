// Causal grouped-query attention over packed rows [q | k | v], FlashAttention-2 style (arXiv:2307.08691) on mma.sync m16n8k16.
//   attention_forward:  o = softmax(q*k^T/sqrt(D))*v with an online softmax, logsumexp kept for backward (natural logarithm)
//   attention_delta:    delta = sum(do*o) per row and head
//   attention_gradient_kv:  dv = p^T*do,  dk = ds^T*q/sqrt(D),  ds = p*(do*v^T - delta);  one block owns its keys and walks the queries
//     of all heads of its group, so the sums stay in registers: no atomics, no zeroing, one order, the same bits every time. It leaves ds.
//   attention_gradient_q:   dq = ds*k/sqrt(D), a product of what was left: five products in all, as with atomics
// Both epilogues turn dk and dq back by their positions, while they are fp32 in registers (with a table; null: they do not): the halves
// of a pair, D/2 columns apart, are accumulators of one thread. A pass over the gradients, 4*B*T*(H+G)*D bytes, falls away.
// Shapes   qkv, grad_qkv [B*T,(H+2G)*D], output, grad_output [B*T,H*D] bf16; logsumexp, delta [B*H,T] fp32; D = 32, 64 or 128
//          angles [positions, D] fp32: D/2 cosines, then D/2 sines, of the positions start, start+1, ...;  ds: see ds_of_head
// Traffic  ds is written and read once, T*T bytes a head each way: a tenth of the card's bandwidth while gradient_kv computes
// Math     causal FLOP: forward 2*B*H*T*T*D, backward 5*B*H*T*T*D: bound by the tensor cores and what feeds them
// Tiles    4 warps of 32 rows, or pairs of warps that share 32 rows (64 below D 128): a fragment of the other operand feeds two products,
//          128 bytes of shared memory an mma instead of 256. Steps are loaded while the one before is computed. Registers and spills in
//          docs/kernel-registers.txt; shared bytes: AttentionTiles in Attention.Cuda.cs
// Goal     forward 320, backward 270 TFLOP/s on an H200 at D 128, T 4096 (not measured on any card: docs/gpu-status.md). Bounds counted
//          from the compiled code: forward 613 (mma.sync), backward 502 (shared memory); derived in docs/kernel-bounds.md
#include "ptx.cuh"

constexpr int Threads = 128;
constexpr int Keys = 64;        // of a step in forward and gradient_q
constexpr int Queries = 32;     // of a step in gradient_kv
constexpr int DsSpan = 128;     // rows of ds start where the diagonal passes, in steps of so many queries
constexpr float Log2E = 1.4426950408889634f;
constexpr float Ln2 = 0.6931471805599453f;
template <int D>
constexpr float Scale = D == 32 ? 0.17677669529663687f : D == 64 ? 0.125f : 0.08838834764831845f;  // 1/sqrt(D)

// A tile holds rows of D elements; 16-byte chunks are swapped within a row by an XOR with the row, so that neither ldmatrix nor
// the copies meet bank conflicts. At D 32 two rows share the 128 bytes of all banks, and a row has four chunks.
template <int D>
__device__ __forceinline__ u32 tile_address(u32 tile, int row, int chunk) {
    return tile + row * (2 * D) + ((chunk ^ (D == 32 ? row / 2 & 3 : row & 7)) << 4);
}

// Hides a value's origin: what is computed from it in a loop stays there, instead of in registers that the sums need.
__device__ __forceinline__ u32 recomputed(u32 x) {
    asm volatile("" : "+r"(x));
    return x;
}

// Copies `Count` rows; those past the sequence become zeros. A thread's rows are a constant apart, on both sides.
template <int D, int Count>
__device__ __forceinline__ void load_tile(u32 tile, const bf16* rows, int first, int tokens, int stride) {
    constexpr int Chunks = D / 8, Pass = Threads / Chunks;
    const int r = threadIdx.x / Chunks, c = threadIdx.x % Chunks;
    const u32 to = tile_address<D>(tile, r, c);
    const u32 pass = recomputed(Pass * stride);
    const bf16* from = rows + (size_t)(first + r) * stride + 8 * c;
#pragma unroll
    for (int i = 0; i < Count / Pass; i++, from += pass) copy_async_16_or_zero(to + i * Pass * 2 * D, from, first + r + i * Pass < tokens);
}

// What a lane gives ldmatrix for rows row.., chunks 0 and 1, of a tile. Sixteen rows or k 16-byte pairs of chunks further on it is
// `fragment` of that: an XOR and a sum with constants, as every row of a lane has the same swap.
template <int D>
__device__ __forceinline__ u32 lane_of_rows(u32 tile, int row) {  // matrices: rows 0-7, rows 8-15, the same of the next chunk
    return tile_address<D>(tile, row + threadIdx.x % 16, threadIdx.x % 32 / 16);
}
template <int D>
__device__ __forceinline__ u32 lane_of_columns(u32 tile) {  // matrices: a row's two chunks, then rows 8-15
    return tile_address<D>(tile, threadIdx.x % 32 / 16 * 8 + threadIdx.x % 8, threadIdx.x / 8 % 2);
}
template <int D>
__device__ __forceinline__ u32 fragment(u32 lane, int sixteens, int k) {
    return (lane ^ (k % 4 * 32)) + (k / 4 * 128 + sixteens * 16 * 2 * D);
}

// s[16*M, 8*N] = (16*M rows of a) * (rows of b)^T, depth D. A fragment of b feeds M products.
template <int D, int N, int M>
__device__ __forceinline__ void rows_by_rows(float (&s)[M][N][4], u32 a_lane, u32 b_lane) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int j = 0; j < N; j++)
            for (int i = 0; i < 4; i++) s[m][j][i] = 0.0f;
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        u32 a[M][4];
#pragma unroll
        for (int m = 0; m < M; m++) load_matrix_x4(a[m], fragment<D>(a_lane, m, k));
#pragma unroll
        for (int j = 0; j < N; j += 2) {
            u32 b[4];
            load_matrix_x4(b, fragment<D>(b_lane, j / 2, k));
#pragma unroll
            for (int m = 0; m < M; m++) {
                multiply_bf16(s[m][j], a[m], b[0], b[1]);
                multiply_bf16(s[m][j + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// An accumulator pair, packed, is the m16k16 fragment of the next product.
__device__ __forceinline__ void pack_fragment(u32 (&a)[4], const float (&left)[4], const float (&right)[4]) {
    a[0] = pack_bf16(left[0], left[1]), a[1] = pack_bf16(left[2], left[3]);
    a[2] = pack_bf16(right[0], right[1]), a[3] = pack_bf16(right[2], right[3]);
}

// o[16*M, D] += a[16*M, 16] * (16 rows of b, number `sixteen` of its tile).
template <int D, int M>
__device__ __forceinline__ void add_product(float (&o)[M][D / 8][4], const u32 (&a)[M][4], u32 b_lane, int sixteen) {
#pragma unroll
    for (int n = 0; n < D / 8; n += 2) {
        u32 b[4];
        load_matrix_x4_transposed(b, fragment<D>(b_lane, sixteen, n / 2));
#pragma unroll
        for (int m = 0; m < M; m++) {
            multiply_bf16(o[m][n], a[m], b[0], b[1]);
            multiply_bf16(o[m][n + 1], a[m], b[2], b[3]);
        }
    }
}

// The same over 8*N columns of p.
template <int D, int N, int M>
__device__ __forceinline__ void add_product(float (&o)[M][D / 8][4], const float (&p)[M][N][4], u32 b_lane) {
#pragma unroll
    for (int j = 0; j < N / 2; j++) {
        u32 a[M][4];
#pragma unroll
        for (int m = 0; m < M; m++) pack_fragment(a[m], p[m][2 * j], p[m][2 * j + 1]);
        add_product<D, M>(o, a, b_lane, j);
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
    const int lane = threadIdx.x % 32, own = threadIdx.x / 32 * 16 * M, end = min(first + Rows, tokens);
    const u32 q_lane = lane_of_rows<D>(q_tile, own), k_lane = lane_of_columns<D>(k_tile), v_lane = lane_of_rows<D>(v_tile, 0);
    constexpr float scale = Log2E * Scale<D>;

    load_tile<D, Rows>(q_tile, q, first, tokens, stride);
    load_tile<D, Keys>(k_tile, k, 0, tokens, stride);
    copy_async_commit();
    float o[M][D / 8][4], top[M][2], sum[M][2];
    clear<D, M>(o);
#pragma unroll
    for (int half = 0; half < 2 * M; half++) top[half / 2][half % 2] = -3.0e38f, sum[half / 2][half % 2] = 0.0f;

    for (int keys = 0; keys < end; keys += Keys) {
        const bool sees = keys < first + own + 16 * M;  // the last keys may be past all rows of a warp
        copy_async_wait<0>();
        __syncthreads();  // k has landed, and everyone is done with the last v
        load_tile<D, Keys>(v_tile, k + recomputed(kv_heads * D), keys, tokens, stride);
        copy_async_commit();
        float s[M][Keys / 8][4];
        if (sees) {
            rows_by_rows<D, Keys / 8, M>(s, recomputed(q_lane), recomputed(k_lane));
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
                const float shrink = fast_exp2((highest - most) * scale), shift = most * scale;
                highest = most;
                total *= shrink;
#pragma unroll
                for (int n = 0; n < D / 8; n++) o[m][n][e] *= shrink, o[m][n][e + 1] *= shrink;
#pragma unroll
                for (int j = 0; j < Keys / 8; j++)
                    for (int i = e; i < e + 2; i++) {
                        s[m][j][i] = fast_exp2(s[m][j][i] * scale - shift);
                        total += s[m][j][i];
                    }
            }
        }
        copy_async_wait<0>();
        __syncthreads();  // v has landed, and everyone is done with k
        if (keys + Keys < end) load_tile<D, Keys>(k_tile, k, keys + Keys, tokens, stride);
        copy_async_commit();
        if (sees) add_product<D, Keys / 8, M>(o, s, recomputed(v_lane));
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

// ds^T of one head, bf16, below the diagonal only: 8x8 matrices of 128 bytes, as ldmatrix reads them. A row of matrices is 8 keys against
// the queries from their span of DsSpan on. In units of 4 bytes:
__device__ __forceinline__ size_t ds_of_head(int tokens) {
    const size_t spans = (tokens + DsSpan - 1) / DsSpan;
    return DsSpan * DsSpan / 4 * spans * (spans + 1);
}
__device__ __forceinline__ int ds_row(int key, int tokens) { return ((tokens + DsSpan - 1) / DsSpan - key / DsSpan) * (DsSpan * 4); }
__device__ __forceinline__ size_t ds_at(int key, int query, int tokens) {
    const size_t span = key / DsSpan, spans = (tokens + DsSpan - 1) / DsSpan, before = span * spans - span * (span - 1) / 2;
    return before * (DsSpan * DsSpan / 2) + (size_t)(key % DsSpan / 8) * ds_row(key, tokens) + (query - span * DsSpan) * 4;
}

// 32*M keys against steps of 32 queries; everything is transposed, so that p^T and ds^T are rows of keys in registers. Two warps share
// 16*M keys: both make one product of depth D and one that adds, each on its operands, and what they exchange is p.
//   the warp of values:  s = k*q^T,   p = exp(s - logsumexp),   dv += p^T*do
//   the warp of keys:    s = v*do^T,  ds = p*(s - delta),       dk += ds^T*q
template <int D, int M>
__device__ __forceinline__ void gradient_kv(const bf16* qkv, const bf16* grad_output, const float* logsumexp, const float* delta, const float* angles,
                                            bf16* grad_qkv, u32* ds, int tokens, int heads, int kv_heads, int first_group) {
    DYNAMIC_SHARED(tiles);
    constexpr int Rows = 32 * M, Step = Queries, OwnBytes = Rows * D * 2, StepBytes = Step * D * 2;
    const u32 kv_tiles = shared_address(tiles), step_tiles = kv_tiles + 2 * OwnBytes;
    float* row_logsumexp = reinterpret_cast<float*>(tiles + 2 * OwnBytes + 4 * StepBytes);
    float* row_delta = row_logsumexp + 2 * Step;
    const int first = blockIdx.x * Rows, sequence = (first_group + blockIdx.y) / kv_heads, kv_head = (first_group + blockIdx.y) % kv_heads;
    const int group = heads / kv_heads, stride = (heads + 2 * kv_heads) * D, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int own = warp / 2 * 16 * M, of_values = warp % 2, first_own = first + own;
    float4* shared_p = reinterpret_cast<float4*>(row_delta + 2 * Step) + warp / 2 * (M * Step * 4) + lane;
    float sums[M][D / 8][4];
    clear<D, M>(sums);

    // A step is 32 queries of one head of the group; two buffers take turns.
    const auto load_step = [&](int head, int queries, int buffer) {
        const u32 tile = step_tiles + buffer * 2 * StepBytes;
        const size_t before = recomputed(sequence * tokens);
        load_tile<D, Step>(tile, qkv + before * stride + head * D, queries, tokens, stride);
        load_tile<D, Step>(tile + StepBytes, grad_output + (before * heads + head) * D, queries, tokens, heads * D);
        if (threadIdx.x < 2 * Step) {
            const int query = queries + threadIdx.x % Step;
            const size_t at = (size_t)(sequence * heads + head) * tokens + min(query, tokens - 1);
            float* to = threadIdx.x < Step ? row_logsumexp : row_delta;
            copy_async_4_or_zero(shared_address(to + buffer * Step + threadIdx.x % Step), (threadIdx.x < Step ? logsumexp : delta) + at, query < tokens);
        }
        copy_async_commit();
    };
    const bf16* rows = qkv + (size_t)sequence * tokens * stride;
    load_tile<D, Rows>(kv_tiles, rows + (heads + kv_head) * D, first, tokens, stride);
    load_tile<D, Rows>(kv_tiles + OwnBytes, rows + (heads + kv_heads + kv_head) * D, first, tokens, stride);
    load_step(kv_head * group, first, 0);
    const u32 own_lane = lane_of_rows<D>(kv_tiles + (1 - of_values) * OwnBytes, own);
    const u32 depth_lane = lane_of_columns<D>(step_tiles + (1 - of_values) * StepBytes), adding_lane = lane_of_rows<D>(step_tiles + of_values * StepBytes, 0);
    u32* ds_own = ds + (size_t)blockIdx.y * group * ds_of_head(tokens) + ds_at(first_own, first, tokens) + lane;
    const int ds_stride = ds_row(first, tokens);

    int queries = first, buffer = 0;
    for (int head = kv_head * group; head < (kv_head + 1) * group; buffer ^= 1) {
        copy_async_wait<0>();
        __syncthreads();  // this step has landed, and everyone is done with the one before
        if (queries + Step < tokens)
            load_step(head, queries + Step, buffer ^ 1);
        else if (head + 1 < (kv_head + 1) * group)
            load_step(head + 1, first, buffer ^ 1);
        const bool sees = queries + Step > first_own;  // else before all keys of this warp
        float s[M][Step / 8][4];
        if (sees) {
            rows_by_rows<D, Step / 8, M>(s, recomputed(own_lane), recomputed(depth_lane + buffer * 2 * StepBytes));
            if (of_values) {
#pragma unroll
                for (int j = 0; j < Step / 8; j++) {
                    const float2 sums_of = *reinterpret_cast<const float2*>(row_logsumexp + buffer * Step + 8 * j + 2 * (lane % 4));
                    const float shift[2] = {sums_of.x * Log2E, sums_of.y * Log2E};
#pragma unroll
                    for (int m = 0; m < M; m++)
                        for (int i = 0; i < 4; i++) s[m][j][i] = fast_exp2(s[m][j][i] * (Scale<D> * Log2E) - shift[i % 2]);
                }
                if (queries < first_own + 16 * M - 1) {  // the diagonal
#pragma unroll
                    for (int m = 0; m < M; m++)
#pragma unroll
                        for (int j = 0; j < Step / 8; j++)
                            for (int i = 0; i < 4; i++)
                                if (first_own + 16 * m + lane / 4 + i / 2 * 8 > queries + 8 * j + 2 * (lane % 4) + i % 2) s[m][j][i] = 0.0f;
                }
#pragma unroll
                for (int m = 0; m < M; m++)
#pragma unroll
                    for (int j = 0; j < Step / 8; j++) shared_p[32 * (m * (Step / 8) + j)] = make_float4(s[m][j][0], s[m][j][1], s[m][j][2], s[m][j][3]);
            }
        }
        __syncthreads();  // p lies in shared memory
        if (sees) {
            if (!of_values) {
#pragma unroll
                for (int j = 0; j < Step / 8; j++) {
                    const float2 mean = *reinterpret_cast<const float2*>(row_delta + buffer * Step + 8 * j + 2 * (lane % 4));
#pragma unroll
                    for (int m = 0; m < M; m++) {
                        const float4 p = shared_p[32 * (m * (Step / 8) + j)];
                        s[m][j][0] = p.x * (s[m][j][0] - mean.x), s[m][j][1] = p.y * (s[m][j][1] - mean.y);
                        s[m][j][2] = p.z * (s[m][j][2] - mean.x), s[m][j][3] = p.w * (s[m][j][3] - mean.y);
                    }
                }
            }
#pragma unroll
            for (int j = 0; j < Step / 16; j++) {
                u32 a[M][4];
#pragma unroll
                for (int m = 0; m < M; m++) {
                    pack_fragment(a[m], s[m][2 * j], s[m][2 * j + 1]);
                    if (!of_values)
                        for (int i = 0; i < 4; i++) ds_own[(2 * m + i % 2) * ds_stride + (queries - first) * 4 + (2 * j + i / 2) * 32] = a[m][i];
                }
                add_product<D, M>(sums, a, recomputed(adding_lane + buffer * 2 * StepBytes), j);
            }
        }
        queries += Step;
        if (queries >= tokens) queries = first, head++, ds_own += ds_of_head(tokens);
    }
    bf16* to = grad_qkv + (size_t)sequence * tokens * stride + (heads + (of_values ? kv_heads : 0) + kv_head) * D;
    store_turned_back<D, M>(to, sums, first_own, tokens, stride, of_values ? 1.0f : Scale<D>, of_values ? nullptr : angles);
}

// 128 queries against steps of 64 keys: dq = ds*k/sqrt(D), from the ds that gradient_kv left.
template <int D>
__device__ __forceinline__ void gradient_q(const bf16* qkv, const u32* ds, const float* angles, bf16* grad_qkv, int tokens, int heads, int kv_heads, int first_group) {
    DYNAMIC_SHARED(tiles);
    constexpr int M = 2, Rows = 64 * M, KeyBytes = Keys * D * 2, StepBytes = KeyBytes + Keys * Rows * 2;
    const u32 step_tiles = shared_address(tiles);
    const int group = heads / kv_heads, kv_group = first_group + blockIdx.y / group, sequence = kv_group / kv_heads, kv_head = kv_group % kv_heads;
    const int first = (gridDim.x - 1 - blockIdx.x) * Rows, head = kv_head * group + blockIdx.y % group, stride = (heads + 2 * kv_heads) * D;
    const int lane = threadIdx.x % 32, first_own = first + threadIdx.x / 32 * 16 * M, end = min(first + Rows, tokens);
    const bf16* k = qkv + (size_t)sequence * tokens * stride + (heads + kv_head) * D;
    ds += blockIdx.y * ds_of_head(tokens);
    float dq[M][D / 8][4];
    clear<D, M>(dq);

    // A thread brings 16 bytes of each row of matrices, for queries of its own warp; what lies above the diagonal was never written.
    const auto load_step = [&](int keys, int buffer) {
        const u32 tile = step_tiles + buffer * StepBytes;
        load_tile<D, Keys>(tile, k, keys, tokens, stride);
        const u32* from = ds + ds_at(keys, first, tokens) + 4 * threadIdx.x;
        const int row = ds_row(keys, tokens);
#pragma unroll
        for (int i = 0; i < Keys / 8; i++)
            copy_async_16_or_zero(tile + KeyBytes + i * Rows * 16 + 16 * threadIdx.x, from + i * row, first_own < tokens && keys + i / 4 * 32 <= first_own);
        copy_async_commit();
    };
    // For ldmatrix, transposing: two matrices of queries, then the same of the next 8 keys.
    const u32 ds_lane = step_tiles + KeyBytes + (threadIdx.x / 32 * 2 * M + lane / 8 % 2) * 128 + lane / 16 * Rows * 16 + lane % 8 * 16;
    const u32 k_lane = lane_of_rows<D>(step_tiles, 0);
    load_step(0, 0);
    for (int keys = 0, buffer = 0; keys < end; keys += Keys, buffer ^= 1) {
        copy_async_wait<0>();
        __syncthreads();  // this step has landed, and everyone is done with the one before
        if (keys + Keys < end) load_step(keys + Keys, buffer ^ 1);
        if (keys >= first_own + 16 * M) continue;  // past all queries of this warp
#pragma unroll
        for (int j = 0; j < Keys / 16; j++) {
            u32 a[M][4];
#pragma unroll
            for (int m = 0; m < M; m++) load_matrix_x4_transposed(a[m], ds_lane + buffer * StepBytes + j * 2 * Rows * 16 + m * 256);
            add_product<D, M>(dq, a, k_lane + buffer * StepBytes, j);
        }
    }
    bf16* to = grad_qkv + (size_t)sequence * tokens * stride + head * D;
    store_turned_back<D, M>(to, dq, first_own, tokens, stride, Scale<D>, angles);
}

#define ATTENTION_KERNELS(D, KeyTiles, BlocksQ)                                                                                            \
    extern "C" __global__ void __launch_bounds__(Threads, 2) attention_forward_d##D(const bf16* qkv, bf16* output, float* logsumexp,         \
                                                                                    int tokens, int heads, int kv_heads) {                   \
        forward<D, 2>(qkv, output, logsumexp, tokens, heads, kv_heads);                                                                    \
    }                                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(Threads) attention_delta_d##D(                                                            \
        const bf16* output, const bf16* grad_output, float* delta, int tokens, int heads, int rows) {                                      \
        delta_of_rows<D>(output, grad_output, delta, tokens, heads, rows);                                                                 \
    }                                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(Threads, 2) attention_gradient_kv_d##D(                                                   \
        const bf16* qkv, const bf16* grad_output, const float* logsumexp, const float* delta, const float* angles,                         \
        bf16* grad_qkv, u32* ds, int tokens, int heads, int kv_heads, int first_group) {                                                   \
        gradient_kv<D, KeyTiles>(qkv, grad_output, logsumexp, delta, angles, grad_qkv, ds, tokens, heads, kv_heads, first_group);            \
    }                                                                                                                                      \
    extern "C" __global__ void __launch_bounds__(Threads, BlocksQ) attention_gradient_q_d##D(                                              \
        const bf16* qkv, const u32* ds, const float* angles, bf16* grad_qkv, int tokens, int heads, int kv_heads, int first_group) {        \
        gradient_q<D>(qkv, ds, angles, grad_qkv, tokens, heads, kv_heads, first_group);                                                    \
    }

ATTENTION_KERNELS(32, 4, 4)
ATTENTION_KERNELS(64, 4, 3)
ATTENTION_KERNELS(128, 2, 3)
