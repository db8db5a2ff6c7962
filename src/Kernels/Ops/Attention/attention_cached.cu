// attention_cached: generation. A query against the keys and values of a cache, o = softmax(q*k^T/sqrt(D))*v over the tokens up to its own.
//   A block has one query of one head and a span of the keys. D/8 neighbouring threads share a key, so a warp reads whole rows
//   of 16-byte pieces; each group of threads walks every G-th key with an online softmax of its own (all in fp32), and the groups
//   are merged through shared memory. With one span that is the result; with several, attention_cached_merge adds their
//   (maximum, sum, unnormalised o) in the order of the spans: long contexts then fill the card although one token is computed.
// Shapes   qkv [N,(H+2G)*D], keys, values [T,G*D], output [N,H*D] bf16, rows `stride` apart; partial [N*H*spans, D+2] fp32
//          token n sees keys 0..start+n, which hold its own already; D a power of two from 8 to 256
// Traffic  4*(start+n)*G*D bytes per token: the heads of a group read the same rows from L2
// Math     4*D FLOP per key and head = H/G FLOP/byte: bandwidth-bound
// Goal     >= 88 % of measured copy bandwidth at 8192 keys and more
// Launch   N x H x spans blocks of 256, merge N x H blocks of D threads (at least 32)
#include "ptx.cuh"

constexpr float Log2E = 1.4426950408889634f;
constexpr float Lowest = -3.0e38f;  // finite: no group, not even one without keys, may bring infinity minus infinity
constexpr int Threads = 256;

extern "C" __global__ void __launch_bounds__(Threads) attention_cached(const bf16* qkv, int qkv_stride, const bf16* keys, int key_stride,
                                                                       const bf16* values, int value_stride, bf16* output, int output_stride,
                                                                       float* partial, int start, int heads, int kv_heads, int width) {
    SHARED(float, sums_of_values, 8 * Threads);  // [groups, D]
    SHARED(float, tops, Threads);
    SHARED(float, sums, Threads);
    const int row = blockIdx.x, head = blockIdx.y, span = blockIdx.z, spans = gridDim.z;
    const int lanes = width / 8, groups = Threads / lanes, group = threadIdx.x / lanes, c = 8 * (threadIdx.x % lanes);
    const int kv_column = head / (heads / kv_heads) * width + c;
    const int count = start + row + 1, per_span = (count + spans - 1) / spans;
    const int first = span * per_span, end = min(count, first + per_span);

    float q[8], o[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f}, top = Lowest, sum = 0.0f;
    load_8(qkv + (size_t)row * qkv_stride + head * width + c, q);
    for (int j = 0; j < 8; j++) q[j] *= Log2E * rsqrtf((float)width);
    // Every lane makes the same number of turns, so that all of a warp meet in the shuffles.
    for (int turn = first; turn < end; turn += groups) {
        const int key = turn + group;
        const bool seen = key < end;
        float k[8], v[8];
        load_8(keys + (size_t)(seen ? key : first) * key_stride + kv_column, k);
        load_8(values + (size_t)(seen ? key : first) * value_stride + kv_column, v);
        float s = 0.0f;
        for (int j = 0; j < 8; j++) s += q[j] * k[j];
        for (int other = lanes / 2; other > 0; other /= 2) s += __shfl_xor_sync(~0u, s, other);
        if (!seen) s = Lowest;
        const float most = fmaxf(top, s), shrink = exp2f(top - most), p = seen ? exp2f(s - most) : 0.0f;
        top = most;
        sum = sum * shrink + p;
        for (int j = 0; j < 8; j++) o[j] = o[j] * shrink + p * v[j];
    }
    for (int j = 0; j < 8; j++) sums_of_values[group * width + c + j] = o[j];
    if (c == 0) tops[group] = top, sums[group] = sum;
    __syncthreads();

    if ((int)threadIdx.x >= width) return;
    float most = Lowest, all = 0.0f, result = 0.0f;
    for (int g = 0; g < groups; g++) most = fmaxf(most, tops[g]);
    for (int g = 0; g < groups; g++) {
        const float weight = exp2f(tops[g] - most);
        all += weight * sums[g];
        result += weight * sums_of_values[g * width + threadIdx.x];
    }
    if (spans == 1) {
        output[(size_t)row * output_stride + head * width + threadIdx.x] = to_bf16(result / all);
        return;
    }
    float* to = partial + ((size_t)(row * heads + head) * spans + span) * (width + 2);
    if (threadIdx.x == 0) to[0] = most, to[1] = all;
    to[2 + threadIdx.x] = result;
}

extern "C" __global__ void __launch_bounds__(Threads) attention_cached_merge(const float* partial, bf16* output, int output_stride, int spans,
                                                                             int width) {
    const int row = blockIdx.x, head = blockIdx.y, heads = gridDim.y;
    if ((int)threadIdx.x >= width) return;
    const float* parts = partial + (size_t)(row * heads + head) * spans * (width + 2);
    float top = Lowest, sum = 0.0f, result = 0.0f;
    for (int s = 0; s < spans; s++) {
        const float* part = parts + (size_t)s * (width + 2);
        const float most = fmaxf(top, part[0]), shrink = exp2f(top - most), weight = exp2f(part[0] - most);
        top = most;
        sum = sum * shrink + weight * part[1];
        result = result * shrink + weight * part[2 + threadIdx.x];
    }
    output[(size_t)row * output_stride + head * width + threadIdx.x] = to_bf16(result / sum);
}
