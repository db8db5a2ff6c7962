// code_pack_int8:   a row becomes a bf16 scale s >= max|z|/127, rounded up, and the bytes round(z/s); an all-zero row has s = 0
// code_unpack_int8: z = s * byte
// Rows follow each other on the wire without gaps, so byte 0 of a row lies anywhere: eight rows are one run of bytes, and every
// thread makes eight of them, which leave as one aligned word where the buffer allows it. Bytes equal those of the CPU.
// The other formats are copies (elementwise.cu): copy_bf16_to_fp32 and copy_16bit, straight into the send buffer.
// Shapes   code [R,Z] bf16, rows `stride` apart; wire [R,2+Z] bytes, page-locked or device memory, any alignment
// Traffic  3*R*Z + 2*R bytes; pack reads the row a second time from L1
// Math     about 4 operations and one division per element: bound by the bus where the buffer is the host's, else by memory
// Goal     >= 88 % of measured copy bandwidth in device memory
// Launch   pack: ceil(R/8) blocks of 256, one warp per row for the scales;  unpack: R * ceil(Z/8) threads, in blocks of 256
#include "ptx.cuh"

constexpr int RowsOfBlock = 8;

extern "C" __global__ void __launch_bounds__(256) code_pack_int8(const bf16* code, int stride, unsigned char* wire, int rows, int columns) {
    SHARED(u16, scales, RowsOfBlock);
    const int first = RowsOfBlock * blockIdx.x, here = min(RowsOfBlock, rows - first);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (warp < here) {
        const bf16* row = code + (size_t)(first + warp) * stride;
        float largest = 0.0f;
        for (int c = 8 * lane; c < columns; c += 8 * 32) {
            float f[8];
            load_columns(row + c, columns - c, f);
            for (int j = 0; j < 8; j++) largest = fmaxf(largest, fabsf(f[j]));
        }
        const float exact = warp_max(largest) / 127.0f;
        const u32 below = __float_as_uint(exact) >> 16;
        if (lane == 0) scales[warp] = (u16)(__uint_as_float(below << 16) < exact ? below + 1 : below);
    }
    __syncthreads();

    const int pitch = columns + 2, bytes = here * pitch;
    unsigned char* to = wire + (size_t)first * pitch;
    for (int p = 8 * threadIdx.x; p < bytes; p += 8 * blockDim.x) {
        int r = p / pitch, at = p % pitch;
        const int count = min(8, bytes - p);
        u64 word = 0;
        for (int j = 0; j < count; j++) {
            const u32 scale = scales[r];
            const float step = __uint_as_float(scale << 16);
            u32 byte = at == 0 ? scale & 255u : scale >> 8;
            if (at >= 2) byte = step == 0.0f ? 0u : (u32)(int)rintf(to_float(code[(size_t)(first + r) * stride + at - 2]) / step) & 255u;
            word |= (u64)byte << 8 * j;
            if (++at == pitch) at = 0, r++;
        }
        if (count == 8 && (u64)(to + p) % 8 == 0) *reinterpret_cast<u64*>(to + p) = word;
        else
            for (int j = 0; j < count; j++) to[p + j] = (unsigned char)(word >> 8 * j);
    }
}

extern "C" __global__ void __launch_bounds__(256) code_unpack_int8(const unsigned char* wire, bf16* code, int stride, int rows, int columns) {
    int row, c;
    if (!columns_of_thread(rows, columns, row, c)) return;
    const unsigned char* from = wire + (size_t)row * (columns + 2);
    const float step = __uint_as_float((u32)from[0] << 16 | (u32)from[1] << 24);
    const int count = min(8, columns - c);
    float f[8];
#pragma unroll
    for (int j = 0; j < 8; j++) f[j] = j < count ? step * (float)(signed char)from[2 + c + j] : 0.0f;
    store_columns(code + (size_t)row * stride + c, count, f);
}
