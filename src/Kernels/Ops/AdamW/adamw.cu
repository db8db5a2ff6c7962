// adamw: decoupled decay, arXiv:1711.05101.  g = gradient * scale, and nothing moves at a scale below zero
//   m = b1*m + (1-b1)*g    v = b2*v + (1-b2)*g*g    w = w*(1 - lr*decay) - lr * (m/(1-b1^t)) / (sqrt(v/(1-b2^t)) + eps)
// With the low word the master weight is the exact fp32 that join_master gives, and the bf16 weight is the nearest to it.
//   Without it (adamw_stochastic) the new weight is rounded to bf16 up or down with the probability of the
//   remainder, by bits that depend on element, step and tensor only, so replicas and launch sizes agree (arXiv:2502.20566).
// Shapes   n elements: weight bf16, low u16, gradient, m, v fp32
// Traffic  28 bytes per element with the low word (24 without)
// Math     about 15 FLOP, one root and two divisions per element: bandwidth-bound
// Goal     >= 90 % of measured copy bandwidth
// Launch   one thread per 4 elements, whose fp32 are one 16-byte access: neighbours fill whole 32-byte sectors, which two such accesses of
//          one thread would halve.  What changes from step to step lies in `settings` and `scale`, in device memory
#include "ptx.cuh"

struct Settings {
    float learning_rate, beta1, beta2, epsilon, weight_decay, correction1, correction2;
    u32 step, tensor;
};

// A counter-based hash (murmur's finalizer over element, step and tensor): 16 bits that no launch geometry enters.
__device__ __forceinline__ u32 random_16(u32 element, u32 step, u32 tensor) {
    u32 h = element * 0x9E3779B1u ^ step * 0x85EBCA77u ^ tensor * 0xC2B2AE3Du;
    h = (h ^ (h >> 16)) * 0x85EBCA6Bu;
    h = (h ^ (h >> 13)) * 0xC2B2AE35u;
    return (h ^ (h >> 16)) & 0xffffu;
}

__device__ __forceinline__ float updated(const Settings& s, float scale, float w, float gradient, float& m, float& v) {
    const float g = gradient * scale;
    m = s.beta1 * m + (1.0f - s.beta1) * g;
    v = s.beta2 * v + (1.0f - s.beta2) * g * g;
    return w * (1.0f - s.learning_rate * s.weight_decay) -
           s.learning_rate * (m * s.correction1) / (sqrtf(v * s.correction2) + s.epsilon);
}

__device__ __forceinline__ void load_4_halves(const u16* p, u32 (&h)[4]) {
    const uint2 v = *reinterpret_cast<const uint2*>(p);
    h[0] = v.x & 0xffffu, h[1] = v.x >> 16, h[2] = v.y & 0xffffu, h[3] = v.y >> 16;
}
__device__ __forceinline__ void store_4_halves(u16* p, const u32 (&h)[4]) {
    *reinterpret_cast<uint2*>(p) = make_uint2(h[0] | h[1] << 16, h[2] | h[3] << 16);
}
__device__ __forceinline__ void load_4(const float* p, float (&f)[4]) {
    const float4 v = *reinterpret_cast<const float4*>(p);
    f[0] = v.x, f[1] = v.y, f[2] = v.z, f[3] = v.w;
}
__device__ __forceinline__ void store_4(float* p, const float (&f)[4]) { *reinterpret_cast<float4*>(p) = make_float4(f[0], f[1], f[2], f[3]); }

// One element: the halves of the weight go in and come out.
template <bool Exact>
__device__ __forceinline__ void update(const Settings& s, float scale, long long i, u32& high, u32& low, float gradient, float& m, float& v) {
    const u32 bits = Exact ? join_master(high, low) : high << 16;
    const u32 next = __float_as_uint(updated(s, scale, __uint_as_float(bits), gradient, m, v));
    if (Exact) split_master(next, high, low);
    else high = (next + random_16((u32)i ^ (u32)(i >> 32) * 0x27D4EB2Fu, s.step, s.tensor)) >> 16;
}

template <bool Exact>
__device__ __forceinline__ void step(u16* weight, u16* low, const float* gradient, float* m, float* v, const Settings* settings,
                                     const float* gradient_scale, long long count) {
    const long long first = 4 * ((long long)blockIdx.x * blockDim.x + threadIdx.x);
    if (first >= count) return;
    const float scale = *gradient_scale;
    if (scale < 0.0f) return;
    const Settings s = *settings;
    if (count - first >= 4) {
        u32 h[4], l[4] = {0, 0, 0, 0};
        float g[4], mi[4], vi[4];
        load_4_halves(weight + first, h);
        if (Exact) load_4_halves(low + first, l);
        load_4(gradient + first, g);
        load_4(m + first, mi);
        load_4(v + first, vi);
        for (int j = 0; j < 4; j++) update<Exact>(s, scale, first + j, h[j], l[j], g[j], mi[j], vi[j]);
        store_4_halves(weight + first, h);
        if (Exact) store_4_halves(low + first, l);
        store_4(m + first, mi);
        store_4(v + first, vi);
        return;
    }
#pragma unroll 1
    for (long long i = first; i < count; i++) {
        u32 h = weight[i], l = Exact ? low[i] : 0u;
        update<Exact>(s, scale, i, h, l, gradient[i], m[i], v[i]);
        weight[i] = (u16)h;
        if (Exact) low[i] = (u16)l;
    }
}

extern "C" __global__ void __launch_bounds__(256, 6) adamw(u16* weight, u16* low, const float* gradient, float* m, float* v,
                                                        const Settings* settings, const float* scale, long long count) {
    step<true>(weight, low, gradient, m, v, settings, scale, count);
}

extern "C" __global__ void __launch_bounds__(256, 6) adamw_stochastic(u16* weight, const float* gradient, float* m, float* v,
                                                                   const Settings* settings, const float* scale, long long count) {
    step<false>(weight, nullptr, gradient, m, v, settings, scale, count);
}
