// Kernels run and are held to the rules: every fault names the kernel, the block and the thread; what is left behind is a leak.
#include "tests/api.h"

namespace {

// Runs a kernel that must fail; gives the text.
std::string faultOf(const char* source, unsigned threads, unsigned sharedBytes, uintptr_t x) {
    void* planted = compileKernel(source, "planted");
    CHECK(launch(planted, 1, threads, sharedBytes, nullptr, x) == 0);
    CHECK(cuCtxSynchronize() != 0);
    const std::string text = softGetLastErrorText();
    CHECK_TEXT(text, "kernel planted, block (0,0,0), thread (");
    return text;
}

void fault(const char* source, unsigned threads, unsigned sharedBytes, const char* expected) {
    useDevice(1);
    const uintptr_t x = upload(std::vector<float>(32));
    CHECK_TEXT(faultOf(source, threads, sharedBytes, x), expected);
    CHECK(cuDevicePrimaryCtxReset_v2(1) == 0);
}

}  // namespace

int main() {
    int devices;
    CHECK(cuInit(0) == 0 && cuDeviceGetCount(&devices) == 0 && devices == 3);
    char name[64];
    CHECK(cuDeviceGetName(name, sizeof name, 0) == 0);
    CHECK_TEXT(name, "oftware");

    useDevice(0);
    void* module;
    void* reverse = compileKernel(
        "extern \"C\" __global__ void reverse(float* x, int n) {\n"
        "  SHARED(float, s, 256);\n"
        "  s[threadIdx.x] = x[blockIdx.x * n + threadIdx.x];\n"
        "  __syncthreads();\n"
        "  x[blockIdx.x * n + threadIdx.x] = s[n - 1 - threadIdx.x] + __shfl_xor_sync(~0u, 0.0f, 1);\n"
        "}\n", "reverse", &module);
    std::vector<float> values;
    for (int i = 0; i < 1024; i++) values.push_back(static_cast<float>(i));
    const uintptr_t x = upload(values);
    CHECK(launch(reverse, 4, 256, 0, nullptr, x, 256) == 0);
    const std::vector<float> turned = download<float>(x, values.size());
    for (size_t i = 0; i < values.size(); i++) CHECK(turned[i] == values[i / 256 * 256 + 255 - i % 256]);
    CHECK(cuMemFree_v2(x) == 0 && cuModuleUnload(module) == 0);
    CHECK(cuDevicePrimaryCtxRelease_v2(0) == 0);

    fault("extern \"C\" __global__ void planted(float* x) { x[threadIdx.x + 1] = 1.0f; }", 32, 0, "past the end of allocation");
    fault("extern \"C\" __global__ void planted(float* x) { reinterpret_cast<float4*>(x + 1)->x = 1.0f; }", 1, 0, "not a multiple of 16");
    fault("extern \"C\" __global__ void planted(float* x) { SHARED(float, s, 64); s[threadIdx.x] = x[threadIdx.x % 32]; x[threadIdx.x % 32] = s[63 - threadIdx.x]; }",
          64, 0, "never written");
    fault("extern \"C\" __global__ void planted(float* x) { DYNAMIC_SHARED(s); copy_async_16(shared_address(s), x); copy_async_commit(); x[0] = reinterpret_cast<float*>(s)[0]; copy_async_wait<0>(); }",
          1, 512, "cp.async that was not waited for");
    fault("extern \"C\" __global__ void planted(float* x) { if (threadIdx.x < 16) __syncthreads(); }", 32, 0, "divergent barrier");

    useDevice(1);
    const uintptr_t gone = upload(std::vector<float>(32));
    CHECK(cuMemFree_v2(gone) == 0);
    CHECK_TEXT(faultOf("extern \"C\" __global__ void planted(float* x) { x[threadIdx.x] = 1.0f; }", 32, 0, gone), "of freed allocation");
    CHECK(cuDevicePrimaryCtxReset_v2(1) == 0);

    useDevice(2);
    uintptr_t left;
    CHECK(cuMemAlloc_v2(&left, 100) == 0);
    CHECK(cuDevicePrimaryCtxRelease_v2(2) != 0);
    CHECK_TEXT(softGetLastErrorText(), "leaked allocation");
    return 0;
}
