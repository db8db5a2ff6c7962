// The words that kernels share: bf16, 16-byte vectors, reductions, and wrappers of the PTX instructions they use.
// Header-free, so NVRTC needs no toolkit; on the software CUDA device the wrappers come from its prelude instead.
// Everything else that a kernel calls is built into NVRTC (11.2 or later, C++17).
#pragma once

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef __SOFTCUDA__
// Shared memory is declared through macros so that the software device can place, bound and watch each array.
#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#define SHARED(type, name, count) __shared__ type name[count]

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// cp.async: 16 bytes from global to shared memory, not through registers; it lands when its group is waited for.
__device__ __forceinline__ void copy_async_16(u32 to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
// Zeros land where `valid` is false; `from` is not read then.
__device__ __forceinline__ void copy_async_16_or_zero(u32 to, const void* from, bool valid) {
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
__device__ __forceinline__ void copy_async_4_or_zero(u32 to, const void* from, bool valid) {
    int bytes = valid ? 4 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Pending>
__device__ __forceinline__ void copy_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

// ldmatrix: four 8x8 bf16 matrices; lane 8*m+r gives the address of row r of matrix m.
__device__ __forceinline__ void load_matrix_x4(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
__device__ __forceinline__ void load_matrix_x4_transposed(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

// d[16,8] += a[16,16] * b[16,8], bf16 operands, fp32 sums.
__device__ __forceinline__ void multiply_bf16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 2^x in one instruction, to 2 ulp; what would be subnormal is zero.
__device__ __forceinline__ float fast_exp2(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}
// 1/x in one instruction, to 1 ulp; subnormals are zero.
__device__ __forceinline__ float fast_reciprocal(float x) {
    float reciprocal;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(reciprocal) : "f"(x));
    return reciprocal;
}

// Round to nearest even, two at a time; `low` lands in the lower half.
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
    u32 packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}
__device__ __forceinline__ u16 round_bf16(float f) { return (u16)pack_bf16(f, 0.0f); }
#endif

// bf16 is the upper half of an fp32.
struct bf16 {
    u16 bits;
};
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
__device__ __forceinline__ bf16 to_bf16(float x) {
    bf16 r;
    r.bits = round_bf16(x);
    return r;
}
__device__ __forceinline__ float low_float(u32 pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_float(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

// An exact fp32 master in two halves: the nearest bf16 (a tie goes away from zero), and what is left of the bits as a signed number.
//   bits = high * 2^16 + low,  -2^15 <= low < 2^15.   A NaN becomes the quiet one: rounded up, the bits of another may be none.
__device__ __forceinline__ u32 join_master(u32 high, u32 low) { return (high << 16) + (u32)(int)(short)(u16)low; }
__device__ __forceinline__ void split_master(u32 bits, u32& high, u32& low) {
    if ((bits & 0x7fffffffu) > 0x7f800000u) bits = 0x7fc00000u;
    high = (bits + 0x8000u) >> 16;
    low = bits & 0xffffu;
}

// Eight bf16 in one 16-byte load or store; the address must be a multiple of 16.
__device__ __forceinline__ uint4 load_8(const bf16* p) { return *reinterpret_cast<const uint4*>(p); }
__device__ __forceinline__ void store_8(bf16* p, uint4 v) { *reinterpret_cast<uint4*>(p) = v; }
__device__ __forceinline__ void unpack_8(uint4 v, float (&f)[8]) {
    f[0] = low_float(v.x), f[1] = high_float(v.x), f[2] = low_float(v.y), f[3] = high_float(v.y);
    f[4] = low_float(v.z), f[5] = high_float(v.z), f[6] = low_float(v.w), f[7] = high_float(v.w);
}
__device__ __forceinline__ uint4 pack_8(const float (&f)[8]) {
    return make_uint4(pack_bf16(f[0], f[1]), pack_bf16(f[2], f[3]), pack_bf16(f[4], f[5]), pack_bf16(f[6], f[7]));
}

// Eight fp32 in two 16-byte accesses.
__device__ __forceinline__ void load_8(const float* p, float (&f)[8]) {
    const float4 a = *reinterpret_cast<const float4*>(p), b = *reinterpret_cast<const float4*>(p + 4);
    f[0] = a.x, f[1] = a.y, f[2] = a.z, f[3] = a.w, f[4] = b.x, f[5] = b.y, f[6] = b.z, f[7] = b.w;
}
__device__ __forceinline__ void store_8(float* p, const float (&f)[8]) {
    *reinterpret_cast<float4*>(p) = make_float4(f[0], f[1], f[2], f[3]);
    *reinterpret_cast<float4*>(p + 4) = make_float4(f[4], f[5], f[6], f[7]);
}

// Views of any shape, stride and alignment: a thread takes eight neighbouring columns of one row, in 16-byte accesses where
// the address allows it and they are all there, one by one elsewhere.
__device__ __forceinline__ bool aligned_16(const void* p) { return (u64)p % 16 == 0; }
__device__ __forceinline__ float widened(float x) { return x; }
__device__ __forceinline__ float widened(bf16 x) { return to_float(x); }
__device__ __forceinline__ void narrow(float x, float& to) { to = x; }
__device__ __forceinline__ void narrow(float x, bf16& to) { to = to_bf16(x); }
__device__ __forceinline__ void load_8(const bf16* p, float (&f)[8]) { unpack_8(load_8(p), f); }
__device__ __forceinline__ void store_8(bf16* p, const float (&f)[8]) { store_8(p, pack_8(f)); }
template <class T>
__device__ __forceinline__ void load_columns(const T* p, int count, float (&f)[8]) {
    if (count >= 8 && aligned_16(p)) {
        load_8(p, f);
        return;
    }
#pragma unroll
    for (int j = 0; j < 8; j++) f[j] = j < count ? widened(p[j]) : 0.0f;
}
template <class T>
__device__ __forceinline__ void store_columns(T* p, int count, const float (&f)[8]) {
    if (count >= 8 && aligned_16(p)) {
        store_8(p, f);
        return;
    }
#pragma unroll
    for (int j = 0; j < 8; j++)
        if (j < count) narrow(f[j], p[j]);
}
// The row and the first column of this thread in a launch of rows * ceil(columns/8) threads; false past the end.
__device__ __forceinline__ bool columns_of_thread(int rows, int columns, int& row, int& column) {
    const u32 per_row = ((u32)columns + 7) / 8, i = blockIdx.x * blockDim.x + threadIdx.x;
    row = (int)(i / per_row);
    column = (int)(8 * (i % per_row));
    return row < rows;
}

// 1/(1 + exp(-x)), to a few ulp.
__device__ __forceinline__ float sigmoid(float x) { return fast_reciprocal(1.0f + fast_exp2(-1.4426950408889634f * x)); }

// Sums and maxima over a warp; every lane gets the result, always in the same order of additions.
__device__ __forceinline__ float warp_sum(float x) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(~0u, x, lanes);
    return x;
}
__device__ __forceinline__ float warp_max(float x) {
    for (int lanes = 16; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, lanes));
    return x;
}
// Over a block of whole warps, at most 32; every thread calls it. The first barrier lets a block reduce more than once.
__device__ __forceinline__ float block_sum(float x) {
    SHARED(float, partial, 32);
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
    __syncthreads();
    x = threadIdx.x % 32 < blockDim.x / 32 ? partial[threadIdx.x % 32] : 0.0f;
    return warp_sum(x);
}
