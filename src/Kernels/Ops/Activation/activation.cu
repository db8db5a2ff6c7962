// silu_forward: y = x*sigmoid(x)        silu_backward: dx = dy * (s + x*s*(1 - s)),  s = sigmoid(x)
// relu_forward: y = max(x, 0)           relu_backward: dx = dy where y > 0, else 0
// Views [rows, columns] with rows `stride` elements apart, any alignment; outputs may be inputs. A NaN stays visible.
// Shapes   all [R,C] bf16, arithmetic fp32, one rounding
// Traffic  forward 4 bytes an element, backward 6
// Math     relu 1 FLOP, silu about 5 (10) and one exponential per element: bandwidth-bound on every card
// Goal     >= 88 % of measured copy bandwidth
// Launch   rows * ceil(columns/8) threads, in blocks of 256
#include "ptx.cuh"

struct Silu {
    static __device__ __forceinline__ float value(float x) { return x * sigmoid(x); }
    static __device__ __forceinline__ float gradient(float x, float dy) {
        const float s = sigmoid(x);
        return dy * (s + x * s * (1.0f - s));
    }
};
struct Relu {
    static __device__ __forceinline__ float value(float x) { return x < 0.0f ? 0.0f : x; }
    static __device__ __forceinline__ float gradient(float y, float dy) { return y > 0.0f ? dy : 0.0f; }
};

template <class F>
__device__ __forceinline__ void forward(const bf16* x, int x_stride, bf16* y, int y_stride, int rows, int columns) {
    int row, c;
    if (!columns_of_thread(rows, columns, row, c)) return;
    float f[8];
    load_columns(x + (size_t)row * x_stride + c, columns - c, f);
#pragma unroll
    for (int j = 0; j < 8; j++) f[j] = F::value(f[j]);
    store_columns(y + (size_t)row * y_stride + c, columns - c, f);
}
template <class F>
__device__ __forceinline__ void backward(const bf16* x, int x_stride, const bf16* dy, int dy_stride, bf16* dx, int dx_stride, int rows,
                                         int columns) {
    int row, c;
    if (!columns_of_thread(rows, columns, row, c)) return;
    float f[8], g[8];
    load_columns(x + (size_t)row * x_stride + c, columns - c, f);
    load_columns(dy + (size_t)row * dy_stride + c, columns - c, g);
#pragma unroll
    for (int j = 0; j < 8; j++) g[j] = F::gradient(f[j], g[j]);
    store_columns(dx + (size_t)row * dx_stride + c, columns - c, g);
}

extern "C" __global__ void __launch_bounds__(256) silu_forward(const bf16* x, int x_stride, bf16* y, int y_stride, int rows, int columns) {
    forward<Silu>(x, x_stride, y, y_stride, rows, columns);
}
extern "C" __global__ void __launch_bounds__(256) relu_forward(const bf16* x, int x_stride, bf16* y, int y_stride, int rows, int columns) {
    forward<Relu>(x, x_stride, y, y_stride, rows, columns);
}
extern "C" __global__ void __launch_bounds__(256) silu_backward(const bf16* x, int x_stride, const bf16* dy, int dy_stride, bf16* dx,
                                                                int dx_stride, int rows, int columns) {
    backward<Silu>(x, x_stride, dy, dy_stride, dx, dx_stride, rows, columns);
}
extern "C" __global__ void __launch_bounds__(256) relu_backward(const bf16* y, int y_stride, const bf16* dy, int dy_stride, bf16* dx,
                                                                int dx_stride, int rows, int columns) {
    backward<Relu>(y, y_stride, dy, dy_stride, dx, dx_stride, rows, columns);
}
