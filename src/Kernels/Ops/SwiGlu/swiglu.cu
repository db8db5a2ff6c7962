// swiglu_forward: s = silu(g) * u,  silu(g) = g / (1 + exp(-g));  rows are packed [g | u]          SwiGLU, arXiv:2002.05202
// swiglu_backward, in place: g,u become their gradients and the incoming gradient ds becomes s again, so that the down
//   projection's weight gradient needs no extra pass:  du = ds*silu(g),  dg = ds*u*(sigmoid(g) + silu(g)*(1 - sigmoid(g)))
// Shapes   gate_up [R,2F], output or gradient [R,F] bf16
// Traffic  6*R*F bytes forward, 12*R*F backward
// Math     about 6 (12) FLOP and one exponential per element: bandwidth-bound on every card
// Goal     >= 88 % of measured copy bandwidth
// Launch   one thread per 8 elements of [R,F], 16-byte accesses, F % 8 == 0
#include "ptx.cuh"

extern "C" __global__ void __launch_bounds__(256) swiglu_forward(const bf16* gate_up, bf16* output, int width, long long chunks) {
    const u32 per_row = (u32)width / 8, i = blockIdx.x * blockDim.x + threadIdx.x;  // a 64-bit division would cost more than the mathematics
    if (i >= chunks) return;
    const size_t row = i / per_row;
    const u32 column = i % per_row * 8;
    const bf16* gates = gate_up + row * 2 * width + column;
    float g[8], u[8];
    unpack_8(load_8(gates), g);
    unpack_8(load_8(gates + width), u);
    for (int j = 0; j < 8; j++) u[j] *= g[j] * sigmoid(g[j]);
    store_8(output + row * width + column, pack_8(u));
}

extern "C" __global__ void __launch_bounds__(256) swiglu_backward(bf16* gate_up, bf16* gradient, int width, long long chunks) {
    const u32 per_row = (u32)width / 8, i = blockIdx.x * blockDim.x + threadIdx.x;  // a 64-bit division would cost more than the mathematics
    if (i >= chunks) return;
    const size_t row = i / per_row;
    const u32 column = i % per_row * 8;
    bf16* gates = gate_up + row * 2 * width + column;
    bf16* gradients = gradient + row * width + column;
    float g[8], u[8], d[8];
    unpack_8(load_8(gates), g);
    unpack_8(load_8(gates + width), u);
    unpack_8(load_8(gradients), d);
    for (int j = 0; j < 8; j++) {
        const float s = sigmoid(g[j]), silu = g[j] * s;
        const float dg = d[j] * u[j] * (s + silu * (1.0f - s)), du = d[j] * silu;
        d[j] = silu * u[j];
        g[j] = dg;
        u[j] = du;
    }
    store_8(gates, pack_8(g));
    store_8(gates + width, pack_8(u));
    store_8(gradients, pack_8(d));
}
