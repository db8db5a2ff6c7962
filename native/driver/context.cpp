// Initialisation, devices, primary contexts. Only primary contexts exist, as cuBLAS and NCCL use them.
// The first fault of a context sticks: every later call returns it, until the context is reset or released.
#include <cstdlib>

#include "driver/cuda.h"

namespace soft {

namespace {
bool initialized = false;
thread_local Context* current = nullptr;
std::mutex contextsMutex;
}  // namespace

Registry<Stream>& streams() {
    static auto* registry = new Registry<Stream>;
    return *registry;
}
Registry<Event>& events() {
    static auto* registry = new Registry<Event>;
    return *registry;
}
Registry<Module>& modules() {
    static auto* registry = new Registry<Module>;
    return *registry;
}
Registry<Function>& functions() {
    static auto* registry = new Registry<Function>;
    return *registry;
}
Registry<Graph>& graphs() {
    static auto* registry = new Registry<Graph>;
    return *registry;
}

Context& primaryContext(int device) {
    static auto* contexts = [] {
        auto* made = new std::vector<std::unique_ptr<Context>>;
        for (int i = 0; i < deviceCount(); i++) made->push_back(std::make_unique<Context>(i));
        return made;
    }();
    return *(*contexts)[static_cast<size_t>(device)];
}

Context* currentContext() { return current; }

bool& inHostFunction() {
    thread_local bool inside = false;
    return inside;
}

int sticky(Context& context) {
    if (!context.faults.raised()) return Success;
    const Fault fault = context.faults.get();
    return fail(fault.status, fault.text);
}

int enter(Context*& context) {
    if (!initialized) return fail(NotInitialized, "cuInit was not called");
    if (inHostFunction()) return fail(NotPermitted, "a function of cuLaunchHostFunc must not call CUDA: the device waits for it");
    context = current;
    if (!context) return fail(InvalidContext, "no context is current on this thread: call cuCtxSetCurrent");
    return sticky(*context);
}

int synchronize(Context& context) {
    for (auto& stream : streams().of(&context)) stream->synchronize();
    return sticky(context);
}

namespace {

// Ends everything that belongs to a context; what the program forgot is listed.
std::string tearDown(Context& context) {
    for (auto& stream : streams().of(&context)) stream->synchronize();
    std::string leaks;
    for (const Allocation& a : context.memory().live())
        leaks += format("%sallocation %u of %zu bytes", leaks.empty() ? "" : ", ", a.number, a.bytes);
    size_t streamCount = 0;
    for (auto& stream : streams().of(&context)) {
        streams().take(stream.get());
        if (stream != context.legacy) streamCount++;
    }
    const auto forgotten = [&leaks](size_t count, const char* what) {
        if (count) leaks += format("%s%zu %s", leaks.empty() ? "" : ", ", count, what);
    };
    forgotten(streamCount, "streams");
    const auto forgetAll = [&](auto& registry, const char* what) {
        auto items = registry.of(&context);
        for (auto& item : items) registry.take(item.get());
        forgotten(items.size(), what);
    };
    forgetAll(events(), "events");
    forgetAll(graphs(), "graphs");
    for (auto& function : functions().of(&context)) functions().take(function.get());
    forgetAll(modules(), "modules");
    const auto locked = hostMemory().takeOf(context.device);
    for (const auto& [start, range] : locked)
        if (range.kind == HostMemory::Kind::Allocated) free(reinterpret_cast<void*>(start));
    forgotten(locked.size(), "ranges of page-locked host memory");
    context.memory().reset();
    context.legacy.reset();
    context.faults.clear();
    return leaks;
}

int deviceOf(int device) {
    if (!initialized) return fail(NotInitialized, "cuInit was not called");
    if (device < 0 || device >= deviceCount())
        return fail(InvalidDevice, format("device %d of %d (ORION_SOFTCUDA_DEVICES sets the number)", device, deviceCount()));
    return Success;
}

int attributeOf(int attribute, int* value) {
    switch (attribute) {
        case 16: *value = Multiprocessors; break;    // MULTIPROCESSOR_COUNT
        case 75: *value = 8; break;                  // COMPUTE_CAPABILITY_MAJOR
        case 76: *value = 0; break;                  // COMPUTE_CAPABILITY_MINOR
        case 97: *value = DynamicBytesOptIn; break;  // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
        default: return fail(InvalidValue, format("device attribute %d is unknown to the software device", attribute));
    }
    return Success;
}

}  // namespace

}  // namespace soft

using namespace soft;

EXPORT int cuInit(unsigned flags) {
    if (flags) return fail(InvalidValue, "cuInit: flags must be 0");
    initialized = true;
    return Success;
}

EXPORT int cuDriverGetVersion(int* version) {
    *version = 12040;
    return Success;
}

EXPORT int cuDeviceGetCount(int* count) {
    if (!initialized) return fail(NotInitialized, "cuInit was not called");
    *count = deviceCount();
    return Success;
}

EXPORT int cuDeviceGet(int* device, int ordinal) {
    if (int status = deviceOf(ordinal)) return status;
    *device = ordinal;
    return Success;
}

EXPORT int cuDeviceGetName(char* name, int length, int device) {
    if (int status = deviceOf(device)) return status;
    snprintf(name, static_cast<size_t>(length), "software CUDA device %d", device);
    return Success;
}

EXPORT int cuDeviceTotalMem_v2(size_t* bytes, int device) {
    if (int status = deviceOf(device)) return status;
    *bytes = deviceMemory(device).capacityBytes();
    return Success;
}

EXPORT int cuDeviceGetAttribute(int* value, int attribute, int device) {
    if (int status = deviceOf(device)) return status;
    return attributeOf(attribute, value);
}

EXPORT int cuDevicePrimaryCtxRetain(Context** context, int device) {
    if (int status = deviceOf(device)) return status;
    std::lock_guard lock(contextsMutex);
    Context& primary = primaryContext(device);
    if (primary.references++ == 0) primary.legacy = streams().add(std::make_shared<Stream>(&primary, true));
    *context = &primary;
    return Success;
}

EXPORT int cuDevicePrimaryCtxRelease_v2(int device) {
    if (int status = deviceOf(device)) return status;
    std::lock_guard lock(contextsMutex);
    Context& primary = primaryContext(device);
    if (primary.references == 0) return fail(InvalidContext, format("the context of device %d is not retained", device));
    if (--primary.references > 0) return Success;
    const std::string leaks = tearDown(primary);
    if (current == &primary) current = nullptr;
    return leaks.empty() ? int(Success) : fail(IllegalState, format("software device %d: leaked ", device) + leaks);
}

EXPORT int cuDevicePrimaryCtxReset_v2(int device) {
    if (int status = deviceOf(device)) return status;
    std::lock_guard lock(contextsMutex);
    Context& primary = primaryContext(device);
    tearDown(primary);
    if (primary.references > 0) primary.legacy = streams().add(std::make_shared<Stream>(&primary, true));
    return Success;
}

EXPORT int cuCtxSetCurrent(Context* context) {
    if (!initialized) return fail(NotInitialized, "cuInit was not called");
    if (inHostFunction()) return fail(NotPermitted, "a function of cuLaunchHostFunc must not call CUDA: the device waits for it");
    for (int i = 0; context && i < deviceCount(); i++) {
        if (context != &primaryContext(i)) continue;
        if (context->references == 0) return fail(InvalidContext, format("the context of device %d is not retained", i));
        current = context;
        return Success;
    }
    if (context) return fail(InvalidContext, "not a context");
    current = nullptr;
    return Success;
}

EXPORT int cuCtxGetCurrent(Context** context) {
    *context = current;
    return Success;
}

EXPORT int cuCtxSynchronize() {
    Context* context;
    if (int status = enterOutsideCapture(context, "cuCtxSynchronize")) return status;
    trace("cuCtxSynchronize", true);
    return synchronize(*context);
}

// Tests choose the order in which blocks, warps and lanes run: 0 ascending, else shuffled by this seed.
EXPORT void softSetScheduleSeed(unsigned seed) { setScheduleSeed(seed); }
