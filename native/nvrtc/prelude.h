// What NVRTC has built in, for g++: the words of CUDA C++ that our kernels use, on top of the software device's entry
// points. g++ -include puts it before every kernel source; no system header is used, as under NVRTC.
#pragma once
#define __SOFTCUDA__ 1
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...) SOFT_LAUNCH_BOUNDS(__VA_ARGS__)
#define __restrict__ __restrict
#define __align__(n) alignas(n)

typedef __SIZE_TYPE__ size_t;

struct uint3 { unsigned x, y, z; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

extern "C" {
uint3 soft_thread_index() __attribute__((const));
uint3 soft_block_index() __attribute__((const));
uint3 soft_block_size() __attribute__((const));
uint3 soft_grid_size() __attribute__((const));
void soft_barrier(unsigned line);
void soft_warp_sync(unsigned mask, unsigned line);
unsigned long soft_shuffle(unsigned mask, unsigned long value, unsigned sourceLane, unsigned line);
unsigned soft_vote(unsigned mask, int predicate, unsigned line);
void* soft_shared_dynamic();
void* soft_shared_array(const char* name, const void* declaration, unsigned long bytes, unsigned long alignment);
unsigned soft_shared_offset(const void* pointer);
void soft_load_matrix(unsigned* registers, unsigned offset, unsigned matrices, int transposed, unsigned line);
void soft_multiply_bf16(const unsigned* a, const unsigned* b, float* d, unsigned line);
void soft_copy_async(unsigned offset, const void* source, unsigned bytes, unsigned validBytes);
void soft_copy_commit();
void soft_copy_wait(unsigned pendingGroups);
float soft_atomic_add_f32(float*, float);
unsigned soft_atomic_add_u32(unsigned*, unsigned);
unsigned long soft_atomic_add_u64(unsigned long*, unsigned long);
unsigned soft_atomic_or_u32(unsigned*, unsigned);
unsigned soft_atomic_exchange_u32(unsigned*, unsigned);
unsigned soft_atomic_cas_u32(unsigned*, unsigned, unsigned);
unsigned soft_atomic_max_u32(unsigned*, unsigned);
void* memcpy(void*, const void*, size_t);
void* memset(void*, int, size_t);
float sqrtf(float);
float expf(float);
float exp2f(float);
float logf(float);
float log2f(float);
float log1pf(float);
float expm1f(float);
float tanhf(float);
float erff(float);
float erfcf(float);
float sinf(float);
float cosf(float);
float powf(float, float);
float fabsf(float);
float fmaxf(float, float);
float fminf(float, float);
float fmaf(float, float, float);
float rintf(float);
float floorf(float);
float ceilf(float);
double sqrt(double);
}

#define threadIdx (soft_thread_index())
#define blockIdx (soft_block_index())
#define blockDim (soft_block_size())
#define gridDim (soft_grid_size())
#define warpSize 32

// g++ may not move memory accesses across these calls: they are opaque, as barriers are to NVRTC. Threads that meet must meet in one
// line of the source, which the last argument tells.
inline void __syncthreads(unsigned line = __builtin_LINE()) { soft_barrier(line); }
inline void __syncwarp(unsigned mask = ~0u, unsigned line = __builtin_LINE()) { soft_warp_sync(mask, line); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

inline int soft_lane() { return static_cast<int>((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32u); }
template <class T>
inline T soft_exchange(unsigned mask, T value, int source, unsigned line) {
    static_assert(sizeof(T) <= 8, "shuffles move 4 or 8 bytes");
    unsigned long bits = 0;
    __builtin_memcpy(&bits, &value, sizeof(T));
    bits = soft_shuffle(mask, bits, static_cast<unsigned>(source), line);
    __builtin_memcpy(&value, &bits, sizeof(T));
    return value;
}
// Within a segment of `width` lanes; a source outside it is the lane itself, as on a card.
template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, unsigned line = __builtin_LINE()) {
    return soft_exchange(mask, value, (soft_lane() & ~(width - 1)) | (source & (width - 1)), line);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, unsigned line = __builtin_LINE()) {
    const int me = soft_lane(), from = me ^ lanes;
    return soft_exchange(mask, value, (from & ~(width - 1)) == (me & ~(width - 1)) ? from : me, line);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int width = 32, unsigned line = __builtin_LINE()) {
    const int me = soft_lane();
    return soft_exchange(mask, value, (me & (width - 1)) + static_cast<int>(lanes) < width ? me + static_cast<int>(lanes) : me, line);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned lanes, int width = 32, unsigned line = __builtin_LINE()) {
    const int me = soft_lane();
    return soft_exchange(mask, value, (me & (width - 1)) >= static_cast<int>(lanes) ? me - static_cast<int>(lanes) : me, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, unsigned line = __builtin_LINE()) { return soft_vote(mask, predicate, line); }
inline int __any_sync(unsigned mask, int predicate, unsigned line = __builtin_LINE()) { return soft_vote(mask, predicate, line) != 0; }
inline int __all_sync(unsigned mask, int predicate, unsigned line = __builtin_LINE()) { return soft_vote(mask, predicate, line) == mask; }

inline float atomicAdd(float* p, float v) { return soft_atomic_add_f32(p, v); }
inline unsigned atomicAdd(unsigned* p, unsigned v) { return soft_atomic_add_u32(p, v); }
inline int atomicAdd(int* p, int v) {
    return static_cast<int>(soft_atomic_add_u32(reinterpret_cast<unsigned*>(p), static_cast<unsigned>(v)));
}
inline unsigned long long atomicAdd(unsigned long long* p, unsigned long long v) {
    return soft_atomic_add_u64(reinterpret_cast<unsigned long*>(p), v);
}
inline unsigned atomicOr(unsigned* p, unsigned v) { return soft_atomic_or_u32(p, v); }
inline unsigned atomicMax(unsigned* p, unsigned v) { return soft_atomic_max_u32(p, v); }
inline unsigned atomicExch(unsigned* p, unsigned v) { return soft_atomic_exchange_u32(p, v); }
inline unsigned atomicCAS(unsigned* p, unsigned expected, unsigned v) { return soft_atomic_cas_u32(p, expected, v); }

template <class To, class From>
inline To soft_bits(From value) {
    To to;
    __builtin_memcpy(&to, &value, sizeof(To));
    return to;
}
inline unsigned __float_as_uint(float f) { return soft_bits<unsigned>(f); }
inline int __float_as_int(float f) { return soft_bits<int>(f); }
inline float __uint_as_float(unsigned u) { return soft_bits<float>(u); }
inline float __int_as_float(int i) { return soft_bits<float>(i); }

// -DSOFT_CARD_ROUNDING: as far off as CUDA's functions may be (CUDA C++ Programming Guide, mathematical functions; PTX ISA, ex2 and rcp), here by
// as many ulp as the bits of x happen to say; and sums of tensor cores are cut, not rounded (arXiv:2512.07004 and others measured them).
#ifdef SOFT_CARD_ROUNDING
inline float soft_off(float y, float x, unsigned ulp) {
    const unsigned bits = __float_as_uint(y), exponent = bits >> 23 & 255u, mixed = __float_as_uint(x) * 2654435761u;
    return exponent < 2u || exponent == 255u ? y : __uint_as_float(bits + (mixed ^ mixed >> 15) % (2u * ulp + 1u) - ulp);
}
inline float soft_sum(float x, float y) {
    const double exact = (double)x + y;
    const float sum = (float)exact;
    return fabsf(sum) > __builtin_fabs(exact) ? __uint_as_float(__float_as_uint(sum) - 1u) : sum;
}
inline float soft_exp2(float x) { return soft_off(exp2f(x), x, 2); }
inline float soft_log(float x) { return soft_off(logf(x), x, 1); }
#define exp2f soft_exp2
#define logf soft_log
#else
inline float soft_off(float y, float, unsigned) { return y; }
inline float soft_sum(float x, float y) { return x + y; }
#endif
inline float rsqrtf(float x) { return soft_off(1.0f / sqrtf(x), x, 2); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((static_cast<unsigned long>(a) * b) >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }
template <class T> inline T __ldg(const T* p) { return *p; }
template <class T> inline T __ldcs(const T* p) { return *p; }
template <class T> inline T __ldcg(const T* p) { return *p; }
template <class T> inline void __stcs(T* p, T v) { *p = v; }
template <class T> inline void __stcg(T* p, T v) { *p = v; }

// Shared memory: the driver places the arrays, so each has bounds of its own.
#define DYNAMIC_SHARED(name) unsigned char* name = static_cast<unsigned char*>(soft_shared_dynamic())
#define SHARED(type, name, count)                                                                              \
    static const char name##_declaration = 0;                                                                  \
    type(&name)[count] =                                                                                       \
        *static_cast<type(*)[count]>(soft_shared_array(#name, &name##_declaration, sizeof(type) * (count), alignof(type)))

// The PTX wrappers of ptx.cuh.
inline unsigned shared_address(const void* p) { return soft_shared_offset(p); }
inline void copy_async_16(unsigned to, const void* from) { soft_copy_async(to, from, 16, 16); }
inline void copy_async_16_or_zero(unsigned to, const void* from, bool valid) { soft_copy_async(to, from, 16, valid ? 16 : 0); }
inline void copy_async_4_or_zero(unsigned to, const void* from, bool valid) { soft_copy_async(to, from, 4, valid ? 4 : 0); }
inline void copy_async_commit() { soft_copy_commit(); }
template <int Pending> inline void copy_async_wait() { soft_copy_wait(Pending); }
inline void load_matrix_x4(unsigned (&r)[4], unsigned address, unsigned line = __builtin_LINE()) { soft_load_matrix(r, address, 4, 0, line); }
inline void load_matrix_x4_transposed(unsigned (&r)[4], unsigned address, unsigned line = __builtin_LINE()) { soft_load_matrix(r, address, 4, 1, line); }
inline void multiply_bf16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, unsigned line = __builtin_LINE()) {
    const unsigned b[2] = {b0, b1};
    float products[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    soft_multiply_bf16(a, b, products, line);
    for (int i = 0; i < 4; i++) d[i] = soft_sum(d[i], products[i]);
}
inline float fast_exp2(float x) { return x < -126.0f ? 0.0f : exp2f(x); }
inline float fast_reciprocal(float x) { return soft_off(1.0f / x, x, 1); }
inline unsigned short round_bf16(float f) {
    const unsigned u = __float_as_uint(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return static_cast<unsigned short>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
inline unsigned pack_bf16(float low, float high) { return round_bf16(low) | static_cast<unsigned>(round_bf16(high)) << 16; }

// The table of kernels: libnvrtc_soft appends one row per extern "C" kernel that it finds.
struct SoftKernelEntry {
    const char* name;
    void (*entry)(void**);
    const unsigned* parameterBytes;
    unsigned parameterCount;
    unsigned threadsMost;
};
template <unsigned... I> struct SoftIndices {};
template <auto Kernel> struct SoftKernel;
template <class... A, void (*Kernel)(A...)>
struct SoftKernel<Kernel> {
    static constexpr unsigned bytes[sizeof...(A) + 1] = {sizeof(A)..., 0};
    static constexpr unsigned count = sizeof...(A);
    // Arguments are the driver's memory, not the kernel's: reading them is not checked.
    template <unsigned... I>
    __attribute__((no_sanitize("thread"), noinline)) static void call(void** p, SoftIndices<I...>) {
        Kernel(*static_cast<A*>(p[I])...);
    }
    __attribute__((no_sanitize("thread"))) static void entry(void** p) { call(p, SoftIndices<__integer_pack(count)...>{}); }
};
