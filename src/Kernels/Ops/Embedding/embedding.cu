// embedding_forward: output[r] = table[ids[r]]
// embedding_backward: grad_table[id] += sum of grad_output[r] over the rows with that id, in the order of r. The first row of
//   an id leads: its block finds the others and adds them one after the other, so the sum has one order and needs neither
//   atomics nor a sort. Ids are read about R/blockDim times per block, from L2.
// Shapes   ids [R] int32; table [V,C], output, grad_output [R,C] bf16; grad_table [V,C] fp32
// Traffic  4*R*C bytes forward; backward 2*R*C + 8*C*(distinct ids)
// Math     none forward, one addition (FLOP) per element backward: bandwidth-bound
// Goal     >= 88 % of measured copy bandwidth forward; backward is a small part of a step
// Launch   one block per row, C % 8 == 0; backward: grid.y slices the columns, 8 per thread
#include "ptx.cuh"

extern "C" __global__ void __launch_bounds__(256) embedding_forward(const int* ids, const bf16* table, bf16* output, int columns) {
    const bf16* from = table + (size_t)ids[blockIdx.x] * columns;
    bf16* to = output + (size_t)blockIdx.x * columns;
    for (int c = 8 * threadIdx.x; c < columns; c += 8 * blockDim.x) store_8(to + c, load_8(from + c));
}

extern "C" __global__ void __launch_bounds__(256) embedding_backward(const int* ids, const bf16* grad_output, float* grad_table, int rows,
                                                                     int columns) {
    SHARED(u32, matches, 8);  // one bit per row of a window of blockDim rows
    SHARED(u32, led_before, 1);
    const int leader = blockIdx.x, id = ids[leader];
    if (threadIdx.x == 0) led_before[0] = 0;
    __syncthreads();
    bool earlier = false;
    for (int r = threadIdx.x; r < leader; r += blockDim.x) earlier |= ids[r] == id;
    if (earlier) atomicOr(&led_before[0], 1u);
    __syncthreads();
    if (led_before[0]) return;

    const int c = 8 * (blockIdx.y * blockDim.x + threadIdx.x);
    float sums[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    for (int window = leader; window < rows; window += blockDim.x) {
        const int r = window + threadIdx.x;
        const u32 mine = __ballot_sync(~0u, r < rows && ids[r] == id);
        if (threadIdx.x % 32 == 0) matches[threadIdx.x / 32] = mine;
        __syncthreads();
        if (c < columns) {
            for (int w = 0; w < (int)blockDim.x / 32; w++) {
                for (u32 left = matches[w]; left; left &= left - 1) {
                    const int row = window + 32 * w + __ffs((int)left) - 1;
                    float g[8];
                    unpack_8(load_8(grad_output + (size_t)row * columns + c), g);
                    for (int j = 0; j < 8; j++) sums[j] += g[j];
                }
            }
        }
        __syncthreads();
    }
    if (c < columns) {
        float* to = grad_table + (size_t)id * columns + c;
        for (int j = 0; j < 8; j++) to[j] += sums[j];
    }
}
