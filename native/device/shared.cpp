// Bounds, initialisation, pending copies and races of shared memory.
#include "device/shared.h"

#include <cstring>
#include <sys/mman.h>

#include "device/block.h"

namespace soft {

namespace {
constexpr size_t RedZoneBytes = 64;
constexpr size_t GranuleBytes = 2;
}  // namespace

SharedMemory::SharedMemory() : states_(MostBytes), records_(MostBytes / GranuleBytes) {
    void* at = mmap(nullptr, MostBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) abort();
    bytes_ = static_cast<uint8_t*>(at);
    for (Record& r : records_) r = {0, 0, 0, 0, 0, Nobody, Nobody, Nobody};
}

void SharedMemory::reset(size_t dynamicBytes) {
    // NaN as bf16 and fp32: what slips past the checks still cannot look like a number.
    memset(bytes_, 0xFF, top_);
    memset(states_.data(), Outside, top_);
    arrays_.clear();
    dynamicBytes_ = dynamicBytes;
    memset(states_.data(), NeverWritten, dynamicBytes);
    memset(bytes_, 0xFF, dynamicBytes);
    top_ = dynamicBytes;
    interval_++;
}

void* SharedMemory::array(const void* declaration, size_t bytes, size_t alignment) {
    for (const Array& a : arrays_)
        if (a.declaration == declaration) return bytes_ + a.offset;
    const size_t unit = alignment < 16 ? 16 : alignment;
    const size_t offset = (top_ + RedZoneBytes + unit - 1) / unit * unit;
    if (offset + bytes > MostBytes)
        raiseFault(LaunchFailed, format("a shared array of %zu bytes does not fit beside %zu bytes already in use", bytes,
                                        top_), nullptr);
    memset(states_.data() + offset, NeverWritten, bytes);
    top_ = offset + bytes;
    arrays_.push_back({declaration, offset});
    return bytes_ + offset;
}

void SharedMemory::checkStates(size_t offset, size_t bytes, bool write, const void* caller) const {
    for (size_t i = 0; i < bytes; i++) {
        const uint8_t state = offset + i < MostBytes ? states_[offset + i] : uint8_t(Outside);
        if (state == Written || (write && state == NeverWritten)) continue;
        const char* what = state == Outside        ? "outside the block's shared memory"
                           : state == CopyInFlight ? "the target of a cp.async that was not waited for"
                                                   : "never written";
        raiseFault(IllegalAddress, format("%s of %zu bytes of shared memory at offset %zu: byte %zu is %s (the block has %zu "
                                          "dynamic bytes)", write ? "write" : "read", bytes, offset, offset + i, what,
                                          dynamicBytes_), caller);
    }
}

bool SharedMemory::ordered(uint16_t other, uint16_t otherWarpInterval, const Fiber& me) const {
    if (other == me.linear) return true;
    if (other == SeveralWarps) return false;
    const unsigned warp = other >= SeveralOfWarp ? other - unsigned(SeveralOfWarp) : other / 32u;
    return warp == me.warp && otherWarpInterval != warpInterval(me.warp);
}

void SharedMemory::record(size_t offset, size_t bytes, Kind kind, const void* caller) {
    const bool write = kind != Kind::Read;
    const Fiber& me = *currentFiber();
    const uint16_t mine = static_cast<uint16_t>(me.linear);
    const uint16_t warpNow = warpInterval(me.warp);
    for (size_t g = offset / GranuleBytes; g <= (offset + bytes - 1) / GranuleBytes; g++) {
        Record& r = records_[g];
        const bool afterWrite = r.writeInterval == interval_ && !ordered(r.writer, r.writeWarpInterval, me);
        const bool afterAtomic = kind != Kind::Atomic && r.atomicInterval == interval_ && r.atomicActor != mine;
        if (afterWrite || afterAtomic) {
            const std::string other = afterWrite ? format("written by thread %u", unsigned(r.writer)) : "changed by another thread's atomic";
            raiseFault(LaunchFailed, format("race on shared memory at offset %zu: %s here, %s with no barrier between",
                                            g * GranuleBytes, write ? "written" : "read", other.c_str()), caller);
        }
        if (write) {
            if (r.readInterval == interval_ && !ordered(r.reader, r.readWarpInterval, me)) {
                const std::string reader = r.reader == SeveralWarps     ? "several warps"
                                           : r.reader >= SeveralOfWarp ? format("warp %u", r.reader - SeveralOfWarp)
                                                                       : format("thread %u", unsigned(r.reader));
                raiseFault(LaunchFailed, format("race on shared memory at offset %zu: written here, read by %s with no barrier "
                                                "between", g * GranuleBytes, reader.c_str()), caller);
            }
            if (kind == Kind::Atomic) {
                r.atomicActor = r.atomicInterval == interval_ && r.atomicActor != mine ? SeveralWarps : mine;
                r.atomicInterval = interval_;
                continue;
            }
            r.writeInterval = interval_;
            r.writeWarpInterval = warpNow;
            r.writer = mine;
        } else {
            uint16_t reader = mine;
            if (r.readInterval == interval_ && r.reader != mine) {
                const unsigned warp = r.reader >= SeveralOfWarp ? r.reader - unsigned(SeveralOfWarp) : r.reader / 32u;
                if (r.reader == SeveralWarps || warp != me.warp) reader = SeveralWarps;
                else if (r.readWarpInterval == warpNow) reader = static_cast<uint16_t>(SeveralOfWarp + me.warp);
            }
            r.readInterval = interval_;
            r.readWarpInterval = warpNow;
            r.reader = reader;
        }
    }
}

void SharedMemory::access(uintptr_t address, size_t bytes, bool write, const void* caller) {
    const size_t offset = address - base();
    checkStates(offset, bytes, write, caller);
    record(offset, bytes, write ? Kind::Write : Kind::Read, caller);
    if (write) memset(&states_[offset], Written, bytes);
}

void SharedMemory::atomic(uintptr_t address, size_t bytes, const void* caller) {
    const size_t offset = address - base();
    checkStates(offset, bytes, false, caller);
    record(offset, bytes, Kind::Atomic, caller);
}

void SharedMemory::beginCopy(uintptr_t address, size_t bytes, const void* caller) {
    const size_t offset = address - base();
    checkStates(offset, bytes, true, caller);
    record(offset, bytes, Kind::Write, caller);
    memset(&states_[offset], CopyInFlight, bytes);
}

void SharedMemory::landCopy(uintptr_t address, size_t bytes, const void* caller) {
    const size_t offset = address - base();
    memset(&states_[offset], Written, bytes);
    record(offset, bytes, Kind::Write, caller);
}

}  // namespace soft
