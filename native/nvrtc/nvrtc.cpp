// The entry points of NVRTC that the bindings use. The "cubin" is an image for libcuda_soft.
#include <cstring>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "nvrtc/program.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

using namespace soft;

namespace {

std::mutex programsMutex;
std::unordered_map<void*, std::shared_ptr<Program>>& programs() {
    static auto* all = new std::unordered_map<void*, std::shared_ptr<Program>>;
    return *all;
}

std::shared_ptr<Program> find(void* handle) {
    std::lock_guard lock(programsMutex);
    auto found = programs().find(handle);
    return found == programs().end() ? nullptr : found->second;
}

}  // namespace

EXPORT int nvrtcVersion(int* major, int* minor) {
    *major = 12;
    *minor = 4;
    return NvrtcSuccess;
}

EXPORT const char* nvrtcGetErrorString(int status) {
    switch (status) {
        case NvrtcSuccess: return "NVRTC_SUCCESS";
        case NvrtcProgramCreation: return "NVRTC_ERROR_PROGRAM_CREATION_FAILURE";
        case NvrtcInvalidInput: return "NVRTC_ERROR_INVALID_INPUT";
        case NvrtcInvalidProgram: return "NVRTC_ERROR_INVALID_PROGRAM";
        case NvrtcInvalidOption: return "NVRTC_ERROR_INVALID_OPTION";
        case NvrtcCompilation: return "NVRTC_ERROR_COMPILATION";
        case NvrtcBuiltinOperation: return "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE";
        default: return "NVRTC_ERROR unknown";
    }
}

EXPORT int nvrtcCreateProgram(void** handle, const char* source, const char* name, int headerCount, const char* const* headers,
                              const char* const* includeNames) {
    if (!handle || !source) return NvrtcInvalidInput;
    auto program = std::make_shared<Program>();
    program->source = source;
    program->name = name ? name : "";
    for (int i = 0; i < headerCount; i++) program->headers.emplace_back(includeNames[i], headers[i]);
    std::lock_guard lock(programsMutex);
    programs()[program.get()] = program;
    *handle = program.get();
    return NvrtcSuccess;
}

EXPORT int nvrtcDestroyProgram(void** handle) {
    std::lock_guard lock(programsMutex);
    if (!programs().erase(*handle)) return NvrtcInvalidProgram;
    *handle = nullptr;
    return NvrtcSuccess;
}

EXPORT int nvrtcCompileProgram(void* handle, int optionCount, const char* const* texts) {
    auto program = find(handle);
    if (!program) return NvrtcInvalidProgram;
    Options options;
    if (!parseOptions(optionCount, texts, options, program->log)) return NvrtcInvalidOption;
    return compile(*program, options);
}

EXPORT int nvrtcGetProgramLogSize(void* handle, size_t* bytes) {
    auto program = find(handle);
    if (!program) return NvrtcInvalidProgram;
    *bytes = program->log.size() + 1;
    return NvrtcSuccess;
}

EXPORT int nvrtcGetProgramLog(void* handle, char* log) {
    auto program = find(handle);
    if (!program) return NvrtcInvalidProgram;
    memcpy(log, program->log.c_str(), program->log.size() + 1);
    return NvrtcSuccess;
}

EXPORT int nvrtcGetCUBINSize(void* handle, size_t* bytes) {
    auto program = find(handle);
    if (!program) return NvrtcInvalidProgram;
    *bytes = program->image.size();
    return NvrtcSuccess;
}

EXPORT int nvrtcGetCUBIN(void* handle, char* image) {
    auto program = find(handle);
    if (!program) return NvrtcInvalidProgram;
    memcpy(image, program->image.data(), program->image.size());
    return NvrtcSuccess;
}

// Part of the key of the C# cache: a new prelude or compiler means new code for the same source.
EXPORT const char* softNvrtcFingerprint() { return fingerprint().c_str(); }
