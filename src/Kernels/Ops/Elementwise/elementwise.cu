// fill: x = value    copy: y = x    add: y += x    scale: x *= factor
// Views [rows, columns] with rows `stride` elements apart; a view without gaps is best given as one row. Any alignment: 16-byte
// accesses where the address allows them. Sums and products are fp32, rounded once where the destination is bf16.
// The plain copies move bits, so they serve every type of their width: copy_16bit bf16 and low words, copy_32bit fp32 and ids.
// Traffic  per element: fill 2 or 4 bytes, copy and scale both sides, add the source once and the destination twice
// Math     at most 1 FLOP per element, so at most 0.17 FLOP/byte: bandwidth-bound on every card
// Goal     >= 88 % of measured copy bandwidth
// Launch   rows * ceil(columns/8) threads, in blocks of 256
#include "ptx.cuh"

template <class T>
__device__ __forceinline__ void fill(T* x, int stride, int rows, int columns, float value) {
    int row, c;
    if (!columns_of_thread(rows, columns, row, c)) return;
    const float f[8] = {value, value, value, value, value, value, value, value};
    store_columns(x + (size_t)row * stride + c, columns - c, f);
}
extern "C" __global__ void __launch_bounds__(256) fill_bf16(bf16* x, int stride, int rows, int columns, float value) {
    fill(x, stride, rows, columns, value);
}
extern "C" __global__ void __launch_bounds__(256) fill_fp32(float* x, int stride, int rows, int columns, float value) {
    fill(x, stride, rows, columns, value);
}

// Vector: eight elements as one type; only whole, aligned groups use it.
template <class Vector, class T>
__device__ __forceinline__ void move(const T* source, int source_stride, T* destination, int stride, int rows, int columns) {
    int row, c;
    if (!columns_of_thread(rows, columns, row, c)) return;
    const T* from = source + (size_t)row * source_stride + c;
    T* to = destination + (size_t)row * stride + c;
    if (columns - c >= 8 && ((u64)from | (u64)to) % alignof(Vector) == 0) {
        constexpr int Vectors = 8 * sizeof(T) / sizeof(Vector);
        Vector kept[Vectors];
#pragma unroll
        for (int j = 0; j < Vectors; j++) kept[j] = reinterpret_cast<const Vector*>(from)[j];
#pragma unroll
        for (int j = 0; j < Vectors; j++) reinterpret_cast<Vector*>(to)[j] = kept[j];
        return;
    }
    for (int j = 0; j < min(8, columns - c); j++) to[j] = from[j];
}
extern "C" __global__ void __launch_bounds__(256) copy_8bit(const unsigned char* source, int source_stride, unsigned char* destination,
                                                            int stride, int rows, int columns) {
    move<uint2>(source, source_stride, destination, stride, rows, columns);
}
extern "C" __global__ void __launch_bounds__(256) copy_16bit(const u16* source, int source_stride, u16* destination, int stride, int rows,
                                                             int columns) {
    move<uint4>(source, source_stride, destination, stride, rows, columns);
}
extern "C" __global__ void __launch_bounds__(256) copy_32bit(const u32* source, int source_stride, u32* destination, int stride, int rows,
                                                             int columns) {
    move<uint4>(source, source_stride, destination, stride, rows, columns);
}

template <class From, class To>
__device__ __forceinline__ void convert(const From* source, int source_stride, To* destination, int stride, int rows, int columns) {
    int row, c;
    if (!columns_of_thread(rows, columns, row, c)) return;
    float f[8];
    load_columns(source + (size_t)row * source_stride + c, columns - c, f);
    store_columns(destination + (size_t)row * stride + c, columns - c, f);
}
extern "C" __global__ void __launch_bounds__(256) copy_bf16_to_fp32(const bf16* source, int source_stride, float* destination, int stride,
                                                                    int rows, int columns) {
    convert(source, source_stride, destination, stride, rows, columns);
}
extern "C" __global__ void __launch_bounds__(256) copy_fp32_to_bf16(const float* source, int source_stride, bf16* destination, int stride,
                                                                    int rows, int columns) {
    convert(source, source_stride, destination, stride, rows, columns);
}

template <class From, class To>
__device__ __forceinline__ void add(const From* source, int source_stride, To* destination, int stride, int rows, int columns) {
    int row, c;
    if (!columns_of_thread(rows, columns, row, c)) return;
    To* to = destination + (size_t)row * stride + c;
    float x[8], y[8];
    load_columns(source + (size_t)row * source_stride + c, columns - c, x);
    load_columns(to, columns - c, y);
#pragma unroll
    for (int j = 0; j < 8; j++) y[j] += x[j];
    store_columns(to, columns - c, y);
}
extern "C" __global__ void __launch_bounds__(256) add_bf16(const bf16* source, int source_stride, bf16* destination, int stride, int rows,
                                                           int columns) {
    add(source, source_stride, destination, stride, rows, columns);
}
extern "C" __global__ void __launch_bounds__(256) add_fp32(const float* source, int source_stride, float* destination, int stride, int rows,
                                                           int columns) {
    add(source, source_stride, destination, stride, rows, columns);
}
extern "C" __global__ void __launch_bounds__(256) add_bf16_to_fp32(const bf16* source, int source_stride, float* destination, int stride,
                                                                   int rows, int columns) {
    add(source, source_stride, destination, stride, rows, columns);
}
extern "C" __global__ void __launch_bounds__(256) add_fp32_to_bf16(const float* source, int source_stride, bf16* destination, int stride,
                                                                   int rows, int columns) {
    add(source, source_stride, destination, stride, rows, columns);
}

template <class T>
__device__ __forceinline__ void scale(T* x, int stride, int rows, int columns, float factor) {
    int row, c;
    if (!columns_of_thread(rows, columns, row, c)) return;
    T* at = x + (size_t)row * stride + c;
    float f[8];
    load_columns(at, columns - c, f);
#pragma unroll
    for (int j = 0; j < 8; j++) f[j] *= factor;
    store_columns(at, columns - c, f);
}
extern "C" __global__ void __launch_bounds__(256) scale_bf16(bf16* x, int stride, int rows, int columns, float factor) {
    scale(x, stride, rows, columns, factor);
}
extern "C" __global__ void __launch_bounds__(256) scale_fp32(float* x, int stride, int rows, int columns, float factor) {
    scale(x, stride, rows, columns, factor);
}
