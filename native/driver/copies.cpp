// Allocation, page-locked memory, copies and fills. Reads of never-written device memory are faults here as in kernels;
// a copy between devices' memories carries the states of its bytes along.
#include <atomic>
#include <cstring>

#include "driver/cuda.h"

using namespace soft;

namespace {

std::atomic<bool> lateCopies;

// A copy between host and device, in flight from when its turn comes until somebody waits for it: the worst that a card may do. Work that
// touches its bytes before then lacks a wait.
struct Flight {
    Flight(Stream* stream, int device, uintptr_t address, size_t bytes, ByteState state) {
        if (!stream || !lateCopies) return;
        states_ = deviceMemory(device).state(address), bytes_ = bytes;
        memset(states_, state, bytes_);
        stream->untilDemanded();
    }
    ~Flight() {
        if (states_) memset(states_, Written, bytes_);
    }

private:
    uint8_t* states_ = nullptr;
    size_t bytes_ = 0;
};

// Runs a copy or fill in stream order; its fault sticks to the context, as a kernel's would.
int inOrder(Stream& stream, std::function<Fault()> work) {
    Context* context = stream.context;
    return enqueue(stream, [context, work = std::move(work)] {
        const Fault fault = work();
        if (fault.status) context->faults.set(fault.status, fault.text);
    });
}

Fault copy(int device, uintptr_t destination, uintptr_t source, size_t bytes, const char* call, Stream* late = nullptr) {
    const bool toDevice = ownerOf(destination) >= 0, fromDevice = ownerOf(source) >= 0;
    if (toDevice) {
        const Fault fault = checkRange(device, destination, bytes, true, call);
        if (fault.status) return fault;
    }
    if (fromDevice && toDevice) {
        // A device's copy of a whole arena may carry bytes that nobody wrote yet; they stay never-written.
        const Fault fault = checkRange(device, source, bytes, true, call);
        if (fault.status) return fault;
        memmove(deviceMemory(ownerOf(destination)).state(destination), deviceMemory(ownerOf(source)).state(source), bytes);
        memmove(reinterpret_cast<void*>(destination), reinterpret_cast<const void*>(source), bytes);
    } else if (fromDevice) {
        const Fault fault = checkRange(device, source, bytes, false, call);
        if (fault.status) return fault;
        const Flight flight(late, device, source, bytes, Leaving);
        memmove(reinterpret_cast<void*>(destination), reinterpret_cast<const void*>(source), bytes);
    } else {
        const Flight flight(late, device, destination, bytes, CopyInFlight);
        memmove(reinterpret_cast<void*>(destination), reinterpret_cast<const void*>(source), bytes);
        markWritten(destination, bytes);
    }
    // Bytes of page-locked memory race as those of a device do.
    noteTouched(call, {{{source, source + bytes}}, {{destination, destination + bytes}}});
    return {};
}

// Host memory that is not page-locked makes an asynchronous copy wait, as on most cards; where the card reads the host's pages by itself it
// does not, so late copies are late here too.
int copyAsync(uintptr_t destination, uintptr_t source, size_t bytes, uintptr_t host, void* streamHandle, const char* call) {
    Context* context;
    int status;
    auto stream = enterStream(streamHandle, context, status);
    if (!stream) return status;
    const bool pageable = host && !hostMemory().contains(host, bytes);
    if (pageable && stream->capture) {
        stream->capture->invalid = true;
        return fail(StreamCaptureUnsupported, format("%s: a graph cannot copy host memory that is not page-locked", call));
    }
    const int device = context->device;
    trace(call, pageable);
    status = inOrder(*stream, [=, late = stream->capture ? nullptr : stream.get()] { return copy(device, destination, source, bytes, call, late); });
    if (status || !pageable || lateCopies) return status;
    stream->synchronize();
    return sticky(*context);
}

int copyNow(uintptr_t destination, uintptr_t source, size_t bytes, const char* call) {
    Context* context;
    if (int status = enterOutsideCapture(context, call)) return status;
    const int device = context->device;
    trace(call, true);
    if (int status = inOrder(*context->legacy, [=] { return copy(device, destination, source, bytes, call); })) return status;
    context->legacy->synchronize();
    return sticky(*context);
}

template <class T>
Fault fill(int device, uintptr_t destination, T value, size_t count, const char* call) {
    if (destination % sizeof(T))
        return {InvalidValue, format("%s: 0x%zx is not a multiple of %zu", call, static_cast<size_t>(destination), sizeof(T))};
    const Fault fault = checkRange(device, destination, count * sizeof(T), true, call);
    if (fault.status) return fault;
    auto* at = reinterpret_cast<T*>(destination);
    for (size_t i = 0; i < count; i++) at[i] = value;
    markWritten(destination, count * sizeof(T));
    noteTouched(call, {{}, {{destination, destination + count * sizeof(T)}}});
    return {};
}

template <class T>
int fillAsync(uintptr_t destination, T value, size_t count, void* streamHandle, const char* call) {
    Context* context;
    int status;
    auto stream = enterStream(streamHandle, context, status);
    if (!stream) return status;
    const int device = context->device;
    return inOrder(*stream, [=] { return fill<T>(device, destination, value, count, call); });
}

uintptr_t number(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

}  // namespace

EXPORT int cuMemAlloc_v2(uintptr_t* address, size_t bytes) {
    Context* context;
    if (int status = enterOutsideCapture(context, "cuMemAlloc")) return status;
    if (bytes == 0) return fail(InvalidValue, "cuMemAlloc: 0 bytes");
    *address = context->memory().allocate(bytes);
    if (*address) return Success;
    return fail(OutOfMemory, format("cuMemAlloc: %zu bytes asked for, %zu of %zu in use on software device %d", bytes,
                                    context->memory().usedBytes(), context->memory().capacityBytes(), context->device));
}

EXPORT int cuMemFree_v2(uintptr_t address) {
    Context* context;
    if (int status = enterOutsideCapture(context, "cuMemFree")) return status;
    if (address == 0) return Success;
    // As the real call, wait until nothing can still use the memory.
    trace("cuMemFree", true);
    if (int status = synchronize(*context)) return status;
    if (context->memory().release(address)) return Success;
    return fail(InvalidValue, format("cuMemFree: 0x%zx is not the start of live memory of device %d: %s",
                                     static_cast<size_t>(address), context->device,
                                     context->memory().contains(address) ? context->memory().explain(address, true).c_str()
                                                                         : "another address"));
}

EXPORT int cuMemGetInfo_v2(size_t* free, size_t* total) {
    Context* context;
    if (int status = enter(context)) return status;
    *total = context->memory().capacityBytes();
    *free = *total - context->memory().usedBytes();
    return Success;
}

EXPORT int cuMemHostAlloc(void** pointer, size_t bytes, unsigned flags) {
    Context* context;
    if (int status = enterOutsideCapture(context, "cuMemHostAlloc")) return status;
    if (bytes == 0 || flags > 7) return fail(InvalidValue, format("cuMemHostAlloc: %zu bytes, flags %u", bytes, flags));
    const size_t whole = (bytes + 4095) / 4096 * 4096;
    *pointer = aligned_alloc(4096, whole);
    if (!*pointer) return fail(OutOfMemory, format("cuMemHostAlloc: %zu bytes", bytes));
    hostMemory().add(number(*pointer), {bytes, HostMemory::Kind::Allocated, context->device});
    return Success;
}

EXPORT int cuMemFreeHost(void* pointer) {
    Context* context = currentContext();
    trace("cuMemFreeHost", true);
    if (context) synchronize(*context);
    if (!hostMemory().remove(number(pointer), HostMemory::Kind::Allocated)) return fail(InvalidValue, format("cuMemFreeHost: %p was not allocated", pointer));
    free(pointer);
    return Success;
}

// Whole pages are locked, so two registrations must not share one.
EXPORT int cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned flags) {
    constexpr uintptr_t Page = 4096;
    Context* context;
    if (int status = enterOutsideCapture(context, "cuMemHostRegister")) return status;
    if (bytes == 0 || flags > 15) return fail(InvalidValue, format("cuMemHostRegister: %zu bytes, flags %u", bytes, flags));
    const uintptr_t first = number(pointer) / Page * Page, end = (number(pointer) + bytes + Page - 1) / Page * Page;
    if (hostMemory().overlaps(first, end - first))
        return fail(HostMemoryAlreadyRegistered, format("cuMemHostRegister: %p shares a page with registered memory", pointer));
    hostMemory().add(number(pointer), {bytes, HostMemory::Kind::Registered, context->device});
    return Success;
}

EXPORT int cuMemHostUnregister(void* pointer) {
    Context* context = currentContext();
    if (context) synchronize(*context);
    return hostMemory().remove(number(pointer), HostMemory::Kind::Registered)
               ? int(Success)
               : fail(HostMemoryNotRegistered, format("cuMemHostUnregister: %p is not registered", pointer));
}

EXPORT int cuMemcpyHtoD_v2(uintptr_t destination, const void* source, size_t bytes) {
    return copyNow(destination, number(source), bytes, "cuMemcpyHtoD");
}
EXPORT int cuMemcpyDtoH_v2(void* destination, uintptr_t source, size_t bytes) {
    return copyNow(number(destination), source, bytes, "cuMemcpyDtoH");
}
EXPORT int cuMemcpyDtoD_v2(uintptr_t destination, uintptr_t source, size_t bytes) {
    return copyNow(destination, source, bytes, "cuMemcpyDtoD");
}
EXPORT int cuMemcpyHtoDAsync_v2(uintptr_t destination, const void* source, size_t bytes, void* stream) {
    return copyAsync(destination, number(source), bytes, number(source), stream, "cuMemcpyHtoDAsync");
}
EXPORT int cuMemcpyDtoHAsync_v2(void* destination, uintptr_t source, size_t bytes, void* stream) {
    return copyAsync(number(destination), source, bytes, number(destination), stream, "cuMemcpyDtoHAsync");
}
EXPORT int cuMemcpyDtoDAsync_v2(uintptr_t destination, uintptr_t source, size_t bytes, void* stream) {
    return copyAsync(destination, source, bytes, 0, stream, "cuMemcpyDtoDAsync");
}

// Copies between host and device then land only when somebody waits for them.
EXPORT void softSetLateCopies(int late) { lateCopies = late != 0; }

EXPORT int cuMemsetD8Async(uintptr_t destination, unsigned char value, size_t count, void* stream) {
    return fillAsync<uint8_t>(destination, value, count, stream, "cuMemsetD8Async");
}
EXPORT int cuMemsetD32Async(uintptr_t destination, unsigned value, size_t count, void* stream) {
    return fillAsync<uint32_t>(destination, value, count, stream, "cuMemsetD32Async");
}
