// What the tests call, as a program sees it: the C entry points, and a few words around them. A check that fails says where and ends
// the program with 1.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

extern "C" {
int cuInit(unsigned);
int cuDeviceGetCount(int*);
int cuDeviceGetName(char*, int, int);
int cuDevicePrimaryCtxRetain(void**, int);
int cuDevicePrimaryCtxRelease_v2(int);
int cuDevicePrimaryCtxReset_v2(int);
int cuCtxSetCurrent(void*);
int cuCtxSynchronize();
int cuModuleLoadData(void**, const void*);
int cuModuleUnload(void*);
int cuModuleGetFunction(void**, void*, const char*);
int cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, void**);
int cuMemAlloc_v2(uintptr_t*, size_t);
int cuMemFree_v2(uintptr_t);
int cuMemcpyHtoD_v2(uintptr_t, const void*, size_t);
int cuMemcpyDtoH_v2(void*, uintptr_t, size_t);
int cuMemHostAlloc(void**, size_t, unsigned);
int cuMemFreeHost(void*);
int cuMemcpyHtoDAsync_v2(uintptr_t, const void*, size_t, void*);
int cuMemcpyDtoHAsync_v2(void*, uintptr_t, size_t, void*);
int cuMemsetD8Async(uintptr_t, unsigned char, size_t, void*);
int cuStreamCreate(void**, unsigned);
int cuStreamDestroy_v2(void*);
int cuStreamSynchronize(void*);
int cuStreamWaitEvent(void*, void*, unsigned);
int cuStreamBeginCapture_v2(void*, int);
int cuStreamEndCapture(void*, void**);
int cuLaunchHostFunc(void*, void (*)(void*), void*);
int cuEventCreate(void**, unsigned);
int cuEventDestroy_v2(void*);
int cuEventRecord(void*, void*);
int cuEventQuery(void*);
int cuEventSynchronize(void*);
int cuStreamQuery(void*);
int cuMemHostAlloc(void**, size_t, unsigned);
int cuMemHostRegister_v2(void*, size_t, unsigned);
int cuMemHostUnregister(void*);
int cuGraphInstantiateWithFlags(void**, void*, unsigned long long);
int cuGraphLaunch(void*, void*);
int cuGraphDestroy(void*);
int cuGraphExecDestroy(void*);
const char* softGetLastErrorText();
int nvrtcCreateProgram(void**, const char*, const char*, int, const char* const*, const char* const*);
int nvrtcCompileProgram(void*, int, const char* const*);
int nvrtcGetProgramLogSize(void*, size_t*);
int nvrtcGetProgramLog(void*, char*);
int nvrtcGetCUBINSize(void*, size_t*);
int nvrtcGetCUBIN(void*, char*);
int nvrtcDestroyProgram(void**);
}

#define CHECK(condition)                                                                                    \
    do {                                                                                                    \
        if (!(condition)) {                                                                                 \
            fprintf(stderr, "%s:%d: %s\n    last error: %s\n", __FILE__, __LINE__, #condition, softGetLastErrorText()); \
            exit(1);                                                                                        \
        }                                                                                                   \
    } while (0)
#define CHECK_TEXT(text, part)                                                                              \
    do {                                                                                                    \
        if (std::string(text).find(part) == std::string::npos) {                                            \
            fprintf(stderr, "%s:%d: \"%s\" is not in \"%s\"\n", __FILE__, __LINE__, part, std::string(text).c_str()); \
            exit(1);                                                                                        \
        }                                                                                                   \
    } while (0)

// Makes the primary context of a device current.
inline void useDevice(int device) {
    void* context;
    CHECK(cuInit(0) == 0);
    CHECK(cuDevicePrimaryCtxRetain(&context, device) == 0);
    CHECK(cuCtxSetCurrent(context) == 0);
}

// Compiles a source with one kernel and loads it.
inline void* compileKernel(const char* source, const char* kernel, void** moduleOut = nullptr) {
    void *program, *module, *function;
    size_t bytes;
    CHECK(nvrtcCreateProgram(&program, source, "test.cu", 0, nullptr, nullptr) == 0);
    const char* option = "--gpu-architecture=sm_80";
    if (nvrtcCompileProgram(program, 1, &option)) {
        nvrtcGetProgramLogSize(program, &bytes);
        std::string log(bytes, 0);
        nvrtcGetProgramLog(program, log.data());
        fprintf(stderr, "%s\n", log.c_str());
        exit(1);
    }
    CHECK(nvrtcGetCUBINSize(program, &bytes) == 0);
    std::vector<char> image(bytes);
    CHECK(nvrtcGetCUBIN(program, image.data()) == 0);
    CHECK(nvrtcDestroyProgram(&program) == 0);
    CHECK(cuModuleLoadData(&module, image.data()) == 0);
    CHECK(cuModuleGetFunction(&function, module, kernel) == 0);
    if (moduleOut) *moduleOut = module;
    return function;
}

template <class... A>
int launch(void* function, unsigned grid, unsigned block, unsigned sharedBytes, void* stream, A... arguments) {
    void* pointers[] = {&arguments...};
    return cuLaunchKernel(function, grid, 1, 1, block, 1, 1, sharedBytes, stream, pointers, nullptr);
}

template <class T>
uintptr_t upload(const std::vector<T>& values) {
    uintptr_t address;
    CHECK(cuMemAlloc_v2(&address, values.size() * sizeof(T)) == 0);
    CHECK(cuMemcpyHtoD_v2(address, values.data(), values.size() * sizeof(T)) == 0);
    return address;
}

template <class T>
std::vector<T> download(uintptr_t address, size_t count) {
    std::vector<T> values(count);
    CHECK(cuMemcpyDtoH_v2(values.data(), address, count * sizeof(T)) == 0);
    return values;
}
