// Modules and launches. A "cubin" of libnvrtc_soft is a short header and a shared object with a table of its kernels.
#include <cstring>
#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include "driver/cuda.h"
#include "nvrtc/image.h"

using namespace soft;

namespace soft {

Module::~Module() {
    if (image) dlclose(image);
    if (file >= 0) close(file);
}

}  // namespace soft

namespace {

// First and last address of the object that holds `inside`.
void imageRange(const void* inside, uintptr_t& start, uintptr_t& end) {
    struct Search {
        uintptr_t inside, start, end;
    } search{reinterpret_cast<uintptr_t>(inside), 0, 0};
    dl_iterate_phdr([](dl_phdr_info* info, size_t, void* data) {
        auto& s = *static_cast<Search*>(data);
        uintptr_t low = UINTPTR_MAX, high = 0;
        for (int i = 0; i < info->dlpi_phnum; i++) {
            if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
            const uintptr_t from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            low = std::min(low, from);
            high = std::max(high, from + info->dlpi_phdr[i].p_memsz);
        }
        if (s.inside < low || s.inside >= high) return 0;
        s.start = low;
        s.end = high;
        return 1;
    }, &search);
    start = search.start;
    end = search.end;
}

int load(Module& module, const uint8_t* data) {
    ImageHeader header;
    memcpy(&header, data, sizeof header);
    if (memcmp(header.magic, ImageMagic, sizeof header.magic) != 0)
        return fail(InvalidImage, "cuModuleLoadData: not an image of the software device; compile with its own NVRTC");
    module.file = memfd_create("kernels.so", MFD_CLOEXEC);
    for (uint64_t done = 0; done < header.bytes;) {
        const ssize_t wrote = write(module.file, data + sizeof header + done, header.bytes - done);
        if (wrote <= 0) return fail(OutOfMemory, "cuModuleLoadData: the image could not be written to memory");
        done += static_cast<uint64_t>(wrote);
    }
    module.image = dlopen(format("/proc/self/fd/%d", module.file).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!module.image) return fail(InvalidImage, format("cuModuleLoadData: %s", dlerror()));
    return Success;
}

}  // namespace

EXPORT int cuModuleLoadData(void** handle, const void* data) {
    Context* context;
    if (int status = enterOutsideCapture(context, "cuModuleLoadData")) return status;
    auto module = std::make_shared<Module>();
    module->context = context;
    if (int status = load(*module, static_cast<const uint8_t*>(data))) return status;
    const auto* kernels = static_cast<const KernelEntry*>(dlsym(module->image, KernelTableName));
    if (!kernels) return fail(InvalidImage, "cuModuleLoadData: the image has no table of kernels");
    for (; kernels->name; kernels++) {
        auto function = std::make_shared<Function>();
        function->context = context;
        function->code.name = kernels->name;
        function->code.entry = kernels->entry;
        imageRange(reinterpret_cast<const void*>(kernels->entry), function->code.imageStart, function->code.imageEnd);
        function->parameterBytes.assign(kernels->parameterBytes, kernels->parameterBytes + kernels->parameterCount);
        function->threadsMost = kernels->threadsMost;
        module->functions[kernels->name] = function;
        functions().add(function);
    }
    *handle = modules().add(module).get();
    return Success;
}

EXPORT int cuModuleUnload(void* handle) {
    auto module = modules().take(handle);
    if (!module) return fail(InvalidHandle, "cuModuleUnload: not a module, or one that was unloaded");
    synchronize(*module->context);
    for (auto& [name, function] : module->functions) functions().take(function.get());
    return Success;
}

EXPORT int cuModuleGetFunction(void** handle, void* moduleHandle, const char* name) {
    auto module = modules().find(moduleHandle);
    if (!module) return fail(InvalidHandle, "cuModuleGetFunction: not a module, or one that was unloaded");
    auto found = module->functions.find(name);
    if (found == module->functions.end()) {
        std::string names;
        for (auto& [other, function] : module->functions) names += (names.empty() ? "" : ", ") + other;
        return fail(NotFound, format("cuModuleGetFunction: no kernel '%s'; the module has ", name) + names);
    }
    *handle = found->second.get();
    return Success;
}

EXPORT int cuFuncGetAttribute(int* value, int attribute, void* handle) {
    auto function = functions().find(handle);
    if (!function) return fail(InvalidHandle, "cuFuncGetAttribute: not a function, or its module was unloaded");
    switch (attribute) {
        case 0: *value = static_cast<int>(function->threadsMost); return Success;  // MAX_THREADS_PER_BLOCK
        case 1: case 3: case 4: *value = 0; return Success;            // static shared, local bytes, registers: unknown here
        case 8: *value = function->dynamicBytesMost; return Success;   // MAX_DYNAMIC_SHARED_SIZE_BYTES
        default: return fail(InvalidValue, format("function attribute %d is unknown to the software device", attribute));
    }
}

// As in CUDA 12.4: where the i-th parameter lies and how long it is; InvalidValue past the last one.
EXPORT int cuFuncGetParamInfo(void* handle, size_t index, size_t* offset, size_t* bytes) {
    auto function = functions().find(handle);
    if (!function) return fail(InvalidHandle, "cuFuncGetParamInfo: not a function, or its module was unloaded");
    if (index >= function->parameterBytes.size()) return fail(InvalidValue, "cuFuncGetParamInfo: past the last parameter");
    size_t at = 0;
    for (size_t i = 0; i <= index; i++) {
        const size_t unit = std::min<size_t>(function->parameterBytes[i], 8);
        at = (at + unit - 1) / unit * unit;
        *offset = at;
        at += function->parameterBytes[i];
    }
    *bytes = function->parameterBytes[index];
    return Success;
}

EXPORT int cuFuncSetAttribute(void* handle, int attribute, int value) {
    auto function = functions().find(handle);
    if (!function) return fail(InvalidHandle, "cuFuncSetAttribute: not a function, or its module was unloaded");
    if (attribute != 8) return fail(InvalidValue, format("function attribute %d cannot be set", attribute));
    if (value < 0 || value > DynamicBytesOptIn)
        return fail(InvalidValue, format("%d bytes of dynamic shared memory; a block can have %d", value, DynamicBytesOptIn));
    function->dynamicBytesMost = value;
    function->sharedBytesMost = DynamicBytesOptIn;
    return Success;
}

EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* handle, int blockThreads, size_t dynamicBytes) {
    if (!functions().find(handle)) return fail(InvalidHandle, "cuOccupancy…: not a function, or its module was unloaded");
    if (blockThreads < 1 || blockThreads > 1024) return fail(InvalidValue, format("a block of %d threads", blockThreads));
    const size_t byShared = 167936 / (dynamicBytes + 1024), byThreads = 2048 / static_cast<size_t>((blockThreads + 31) / 32 * 32);
    *blocks = static_cast<int>(std::min<size_t>({byShared, byThreads, 32}));
    return Success;
}

EXPORT int cuLaunchKernel(void* handle, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY,
                          unsigned blockZ, unsigned dynamicBytes, void* streamHandle, void** parameters, void** extra) {
    Context* context;
    int status;
    auto stream = enterStream(streamHandle, context, status);
    if (!stream) return status;
    auto function = functions().find(handle);
    if (!function) return fail(InvalidHandle, "cuLaunchKernel: not a function, or its module was unloaded");
    const Dim3 grid{gridX, gridY, gridZ}, block{blockX, blockY, blockZ};
    const char* name = function->code.name.c_str();
    if (!grid.count() || !block.count() || block.count() > 1024 || blockZ > 64 || gridX > 2147483647u || gridY > 65535 || gridZ > 65535)
        return fail(InvalidValue, format("%s: grid (%u,%u,%u) of blocks (%u,%u,%u)", name, gridX, gridY, gridZ, blockX, blockY, blockZ));
    if (block.count() > function->threadsMost)
        return fail(LaunchOutOfResources, format("%s: a block of %zu threads; its __launch_bounds__ allow %u, for which it has registers", name,
                                                 static_cast<size_t>(block.count()), function->threadsMost));
    if (dynamicBytes > static_cast<unsigned>(function->dynamicBytesMost))
        return fail(InvalidValue, format("%s: %u bytes of dynamic shared memory, %d allowed; raise attribute 8 first", name,
                                         dynamicBytes, function->dynamicBytesMost));
    if (extra || (!parameters && !function->parameterBytes.empty()))
        return fail(InvalidValue, format("%s: parameters come as an array of pointers", name));

    // Arguments are read now, as by the real call, and kept with the queued work.
    struct Arguments {
        std::vector<std::max_align_t> storage;
        std::vector<void*> pointers;
    };
    auto arguments = std::make_shared<Arguments>();
    const size_t count = function->parameterBytes.size();
    constexpr size_t Unit = sizeof(std::max_align_t);
    size_t units = 0;
    for (uint32_t bytes : function->parameterBytes) units += (bytes + Unit - 1) / Unit;
    arguments->storage.resize(units);
    auto* at = arguments->storage.data();
    for (size_t i = 0; i < count; i++) {
        memcpy(at, parameters[i], function->parameterBytes[i]);
        arguments->pointers.push_back(at);
        at += (function->parameterBytes[i] + Unit - 1) / Unit;
    }
    trace("cuLaunchKernel");
    return enqueue(*stream, [context, function, arguments, grid, block, dynamicBytes] {
        noteTouched(("kernel " + function->code.name).c_str(),
                    runGrid({&function->code, arguments->pointers.data(), grid, block, dynamicBytes,
                             static_cast<unsigned>(function->sharedBytesMost), &context->memory(), &context->faults,
                             scheduleSeed(), nullptr}));
    });
}
