// Kernels run and are held to the rules: every fault names the kernel, the block and the thread; what is left behind is a leak.
#include "tests/api.h"

namespace {

// Runs a kernel that must fail; gives the text.
std::string faultOf(const char* source, unsigned threads, unsigned sharedBytes, uintptr_t x, unsigned blocks = 1) {
    void* planted = compileKernel(source, "planted");
    CHECK(launch(planted, blocks, threads, sharedBytes, nullptr, x) == 0);
    CHECK(cuCtxSynchronize() != 0);
    const std::string text = softGetLastErrorText();
    CHECK_TEXT(text, blocks == 1 ? "kernel planted, block (0,0,0), thread (" : "kernel planted, block (");
    return text;
}

void fault(const char* source, unsigned threads, unsigned sharedBytes, const char* expected, unsigned blocks = 1) {
    useDevice(1);
    const uintptr_t x = upload(std::vector<float>(32));
    CHECK_TEXT(faultOf(source, threads, sharedBytes, x, blocks), expected);
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

    // Between blocks: two write a byte, one reads what another writes, one reads what another changes by an atomic.
    fault("extern \"C\" __global__ void planted(float* x) { x[threadIdx.x] = 1.0f; }", 32, 0, "race on global memory: byte 0 of allocation", 2);
    fault("extern \"C\" __global__ void planted(float* x) { if (blockIdx.x) x[0] = x[1]; else x[1] = x[2]; }", 1, 0, "of the same launch", 2);
    fault("extern \"C\" __global__ void planted(float* x) { if (blockIdx.x) x[1] = x[0]; else atomicAdd(x, 1.0f); }", 1, 0, "of the same launch", 2);
    // Not races: every block its own bytes, also of one word; atomics everywhere; all read.
    useDevice(1);
    const uintptr_t bytes = upload(std::vector<float>(32));
    void* fine = compileKernel("extern \"C\" __global__ void fine(float* x) { reinterpret_cast<unsigned char*>(x)[blockIdx.x] = 1; atomicAdd(x + 8, x[16]); }", "fine");
    CHECK(launch(fine, 7, 1, 0, nullptr, bytes) == 0 && cuCtxSynchronize() == 0);
    CHECK(cuDevicePrimaryCtxReset_v2(1) == 0);

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

    // Everything else that a program can forget.
    useDevice(2);
    void *stream, *event, *graph, *executable, *forgotten;
    compileKernel("extern \"C\" __global__ void forgotten(float* x) { *x = 1.0f; }", "forgotten", &forgotten);
    CHECK(cuStreamCreate(&stream, 1) == 0 && cuEventCreate(&event, 0) == 0 && cuStreamBeginCapture_v2(stream, 1) == 0);
    CHECK(cuStreamEndCapture(stream, &graph) == 0 && cuGraphInstantiateWithFlags(&executable, graph, 0) == 0);
    alignas(4096) static char page[4096];
    void* locked;
    CHECK(cuMemHostAlloc(&locked, 64, 0) == 0 && cuMemHostRegister_v2(page, sizeof page, 0) == 0);
    CHECK(cuMemFreeHost(page) != 0 && cuMemHostUnregister(locked) != 0);  // each the other's
    CHECK(cuDevicePrimaryCtxRelease_v2(2) != 0);
    CHECK_TEXT(softGetLastErrorText(), "leaked 1 streams, 1 events, 2 graphs, 1 modules, 2 ranges of page-locked host memory");
    CHECK(cuMemHostUnregister(page) != 0);
    return 0;
}
