// Bounds, initialisation, pending copies and races of shared memory.
#include "device/shared.h"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include "device/block.h"

namespace soft {

namespace {
constexpr size_t RedZoneBytes = 64;
}

SharedMemory::SharedMemory() : states_(MostBytes) {
    void* at = mmap(nullptr, MostBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) abort();
#ifdef __SANITIZE_ADDRESS__
    // A stack may have lain at these addresses before, whose frames AddressSanitizer still guards.
    __asan_unpoison_memory_region(at, MostBytes);
#endif
    bytes_ = static_cast<uint8_t*>(at);
    for (auto& stamps : stamps_) stamps.resize(MostBytes);
}

SharedMemory::~SharedMemory() { munmap(bytes_, MostBytes); }

void SharedMemory::reset(size_t dynamicBytes, bool forgetStamps) {
    // NaN as bf16 and fp32: what slips past the checks still cannot look like a number.
    memset(bytes_, 0xFF, top_);
    memset(states_.data(), Outside, top_);
    arrays_.clear();
    dynamicBytes_ = dynamicBytes;
    memset(states_.data(), NeverWritten, dynamicBytes);
    memset(bytes_, 0xFF, dynamicBytes);
    top_ = dynamicBytes;
    if (forgetStamps)
        for (auto& stamps : stamps_) std::fill(stamps.begin(), stamps.end(), 0);
}

void* SharedMemory::array(const char* name, const void* declaration, size_t bytes, size_t alignment, size_t most) {
    size_t declared = bytes;
    for (const Array& a : arrays_) {
        if (a.declaration == declaration) return bytes_ + a.offset;
        declared += a.bytes;
    }
    if (declared > StaticMost || declared + dynamicBytes_ > most)
        raiseFault(LaunchFailed, format("with %s the block has %zu bytes of shared arrays and %zu dynamic ones; a card allows %zu and %zu together",
                                        name, declared, dynamicBytes_, StaticMost, most), nullptr);
    const size_t unit = alignment < 16 ? 16 : alignment;
    const size_t offset = (top_ + RedZoneBytes + unit - 1) / unit * unit;
    memset(states_.data() + offset, NeverWritten, bytes);
    top_ = offset + bytes;
    arrays_.push_back({declaration, name, offset, bytes});
    return bytes_ + offset;
}

std::string SharedMemory::place(size_t offset) const {
    for (const Array& a : arrays_)
        if (offset >= a.offset && offset < a.offset + a.bytes + RedZoneBytes) return format("offset %zu of %s", offset - a.offset, a.name);
    return format("offset %zu", offset);
}

void SharedMemory::checkStates(size_t offset, size_t bytes, bool write, const void* caller) const {
    for (size_t i = 0; i < bytes; i++) {
        const uint8_t state = offset + i < MostBytes ? states_[offset + i] : uint8_t(Outside);
        if (state == Written || (write && state == NeverWritten)) continue;
        const char* what = state == Outside        ? "outside the block's shared memory"
                           : state == CopyInFlight ? "the target of a cp.async that was not waited for"
                                                   : "never written";
        raiseFault(IllegalAddress, format("%s of %zu bytes of shared memory at %s: byte %zu is %s (the block has %zu dynamic bytes)",
                                          write ? "write" : "read", bytes, place(offset).c_str(), i, what, dynamicBytes_), caller);
    }
}

void SharedMemory::record(size_t offset, size_t bytes, Touch touch, const void* caller) {
    const BlockOrder& order = runner->order;
    const Stamp me = currentStamp();
    for (size_t other = 0; other < Touches; other++) {
        if (Touch(other) == touch && touch != Touch::Write) continue;
        const Stamp* last = &stamps_[other][offset];
        size_t byte;
        if (order.findUnordered(last, bytes, me, byte))
            raiseFault(LaunchFailed, format("race on shared memory at %s: %s here, %s by %s with no barrier between", place(offset + byte).c_str(),
                                            verbOf(touch), verbOf(Touch(other)), nameOf(last[byte]).c_str()), caller);
    }
    order.stamp(&stamps_[static_cast<size_t>(touch)][offset], bytes, touch, me);
}

void SharedMemory::access(uintptr_t address, size_t bytes, Touch touch, const void* caller) {
    const size_t offset = address - base();
    checkStates(offset, bytes, touch == Touch::Write, caller);
    record(offset, bytes, touch, caller);
    if (touch == Touch::Write) memset(&states_[offset], Written, bytes);
}

void SharedMemory::beginCopy(uintptr_t address, size_t bytes, const void* caller) {
    const size_t offset = address - base();
    checkStates(offset, bytes, true, caller);
    record(offset, bytes, Touch::Write, caller);
    memset(&states_[offset], CopyInFlight, bytes);
}

void SharedMemory::landCopy(uintptr_t address, size_t bytes, const void* caller) {
    const size_t offset = address - base();
    memset(&states_[offset], Written, bytes);
    record(offset, bytes, Touch::Write, caller);
}

}  // namespace soft
