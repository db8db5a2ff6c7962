// rotary: for i < D/2, with the cosine and sine of the row's position:                          RoPE, arXiv:2104.09864
//   x[i]' = x[i]*cos - x[i+D/2]*sin,   x[i+D/2]' = x[i+D/2]*cos + x[i]*sin     (inverse: sin with the other sign)
// In place on the first H+G heads (queries and keys) of packed rows [q | k | v].
// Shapes   qkv [R,(H+2G)*D] bf16; table [positions, D] fp32: D/2 cosines, then D/2 sines
// Traffic  4*R*(H+G)*D bytes, plus the table, which stays in L2
// Math     3 FLOP per element: bandwidth-bound on every card
// Goal     >= 88 % of measured copy bandwidth
// Launch   one thread per 8 pairs (16-byte accesses): R*(H+G)*D/16 threads, D % 16 == 0
#include "ptx.cuh"

extern "C" __global__ void __launch_bounds__(256) rotary(bf16* qkv, const float* table, int tokens, int heads, int row_stride, int head_width,
                                                         int start_position, float sine_sign, long long chunks) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;  // 64-bit divisions would cost more than the mathematics
    if (i >= chunks) return;
    const u32 half = head_width / 2, per_head = half / 8;
    const u32 pair = i % per_head * 8, row = i / per_head / heads, head = i / per_head % heads;
    const float* angles = table + (size_t)(row % tokens + start_position) * head_width + pair;
    bf16* x = qkv + (size_t)row * row_stride + head * head_width + pair;
    float a[8], b[8], cosines[8], sines[8];
    load_8(angles, cosines);
    load_8(angles + half, sines);
    unpack_8(load_8(x), a);
    unpack_8(load_8(x + half), b);
    for (int j = 0; j < 8; j++) {
        const float c = cosines[j], s = sines[j] * sine_sign;
        const float turned = a[j] * c - b[j] * s;
        b[j] = b[j] * c + a[j] * s;
        a[j] = turned;
    }
    store_8(x, pack_8(a));
    store_8(x + half, pack_8(b));
}
