// Every load and store of a kernel ends up here: g++ -fsanitize=thread puts a call before each of them, and these are the
// functions that it calls. g++'s undefined-behaviour checks (alignment, array bounds, overflow, shifts) report here too.
//   global memory: inside a live allocation of this device, written before it is read, and noted for races (footprint.h)
//   shared memory: bounds, initialisation, pending cp.async, races (shared.cpp)
//   the own stack, the kernel's constants, page-locked host memory: allowed
#include <cstring>

#include "device/block.h"

#define EXPORT extern "C" __attribute__((visibility("default")))
#define CALLER __builtin_return_address(0)

namespace soft {

namespace {

void globalFault(uintptr_t address, size_t bytes, bool write, const void* caller) {
    DeviceMemory& memory = *runner->job->memory;
    const size_t bad = memory.firstBad(address, bytes, write);
    raiseFault(IllegalAddress, format("%s of %zu bytes at 0x%zx: %s", write ? "write" : "read", bytes,
                                      static_cast<size_t>(address), memory.explain(address + bad, write).c_str()), caller);
}

void otherAccess(uintptr_t address, size_t bytes, bool write, const void* caller) {
    const KernelCode& kernel = *runner->job->kernel;
    if (address - kernel.imageStart < kernel.imageEnd - kernel.imageStart) return;
    if (hostMemory().contains(address, bytes)) return;
    const int owner = ownerOf(address);
    const std::string where =
        owner >= 0 ? format("memory of device %d, used on device %d", owner, runner->job->memory->device)
        : address < 4096 ? std::string("a null pointer")
                         : std::string("no memory of this device and not page-locked host memory");
    raiseFault(IllegalAddress, format("%s of %zu bytes at 0x%zx: %s", write ? "write" : "read", bytes,
                                      static_cast<size_t>(address), where.c_str()), caller);
}

__attribute__((noinline)) void refuseClash(uintptr_t offset, Touch touch, const Clash& clash, const void* caller) {
    BlockRunner& block = *runner;
    const std::string line = sourceLine(block.touched.callerNear(offset, clash.other));
    raiseFault(LaunchFailed, format("race on global memory: %s is %s here and %s by %s of the same block%s%s, with no barrier between",
                                    block.job->memory->explain(block.globalBase + offset, true).c_str(), verbOf(touch), verbOf(clash.other),
                                    nameOf(clash.who).c_str(), line.empty() ? "" : " at ", line.c_str()), caller);
}

__attribute__((always_inline)) inline void noteGlobal(BlockRunner& block, uintptr_t offset, size_t bytes, Touch touch, const void* caller) {
    const Fiber& me = *block.fiber;
    Clash clash;
    if (block.touched.note(offset, bytes, touch, me.linear, caller, block.order, block.order.now(me.warp, me.lane), clash))
        refuseClash(offset + clash.byte, touch, clash, caller);
}

// All bytes of the range equal `Written`: the only case that a correct kernel's reads meet.
template <size_t Bytes>
bool allWritten(const uint8_t* states) {
    uint8_t expected[Bytes];
    memset(expected, Written, Bytes);
    return memcmp(states, expected, Bytes) == 0;
}

template <size_t Bytes, bool Write>
__attribute__((always_inline)) inline void access(const void* pointer, const void* caller) {
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    BlockRunner& block = *runner;
    const uintptr_t offset = address - block.globalBase;
    if (offset < DeviceMemory::RangeBytes) {
        uint8_t* states = block.globalShadow + offset;
        noteGlobal(block, offset, Bytes, Write ? Touch::Write : Touch::Read, caller);
        if (allWritten<Bytes>(states)) return;
        if (block.job->memory->firstBad(address, Bytes, Write) != Bytes) globalFault(address, Bytes, Write, caller);
        if (Write) memset(states, Written, Bytes);
    } else {
        checkAccess(address, Bytes, Write ? Touch::Write : Touch::Read, caller);
    }
}

}  // namespace

void checkAccess(uintptr_t address, size_t bytes, Touch touch, const void* caller) {
    BlockRunner& block = *runner;
    const bool write = touch == Touch::Write;
    const uintptr_t offset = address - block.globalBase;
    if (offset < DeviceMemory::RangeBytes) {
        if (block.job->memory->firstBad(address, bytes, write) != bytes) globalFault(address, bytes, write, caller);
        noteGlobal(block, offset, bytes, touch, caller);
        if (write) memset(block.globalShadow + offset, Written, bytes);
    } else if (block.shared.contains(address)) {
        block.shared.access(address, bytes, touch, caller);
    } else if (address - block.fiber->stackLowest >= FiberStackBytes) {
        otherAccess(address, bytes, write, caller);
    }
}

void checkLanding(const PendingCopy& copy) {
    checkAccess(copy.source, copy.validBytes, Touch::Read, copy.caller);
    BlockRunner& block = *runner;
    const uintptr_t offset = copy.source - block.globalBase;
    Stamp who;
    if (offset >= DeviceMemory::RangeBytes) return;
    const size_t byte = block.touched.writtenSince(offset, copy.validBytes, copy.segment, who);
    if (byte == copy.validBytes) return;
    raiseFault(LaunchFailed, format("race on global memory: %s is read by a cp.async from here, and was written by the block before the copy was waited for",
                                    block.job->memory->explain(copy.source + byte, true).c_str()), copy.caller);
}

}  // namespace soft

EXPORT void __tsan_init() {}
EXPORT void __tsan_func_entry(void*) {}
EXPORT void __tsan_func_exit() {}

#define ACCESS(bytes)                                                                                    \
    EXPORT void __tsan_read##bytes(void* p) { soft::access<bytes, false>(p, CALLER); }                   \
    EXPORT void __tsan_write##bytes(void* p) { soft::access<bytes, true>(p, CALLER); }                   \
    EXPORT void __tsan_unaligned_read##bytes(void* p) { soft::access<bytes, false>(p, CALLER); }         \
    EXPORT void __tsan_unaligned_write##bytes(void* p) { soft::access<bytes, true>(p, CALLER); }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)

EXPORT void __tsan_read_range(void* p, unsigned long bytes) {
    soft::checkAccess(reinterpret_cast<uintptr_t>(p), bytes, soft::Touch::Read, CALLER);
}
EXPORT void __tsan_write_range(void* p, unsigned long bytes) {
    soft::checkAccess(reinterpret_cast<uintptr_t>(p), bytes, soft::Touch::Write, CALLER);
}

namespace {

// The head of every record that g++ hands to an undefined-behaviour handler.
struct SourceLocation {
    const char* file;
    uint32_t line, column;
};

[[noreturn]] void undefined(const void* data, soft::Status status, const std::string& what) {
    const auto* at = static_cast<const SourceLocation*>(data);
    const char* name = strrchr(at->file, '/');
    soft::raiseFault(status, what + soft::format(" at %s:%u", name ? name + 1 : at->file, at->line), nullptr);
}

}  // namespace

EXPORT void __ubsan_handle_type_mismatch_v1_abort(void* data, uintptr_t pointer) {
    struct Mismatch {
        SourceLocation at;
        const void* type;
        unsigned char logAlignment, kind;
    };
    const size_t alignment = size_t(1) << static_cast<Mismatch*>(data)->logAlignment;
    undefined(data, soft::MisalignedAddress,
              soft::format("access at 0x%zx, which is not a multiple of %zu bytes", static_cast<size_t>(pointer), alignment));
}
EXPORT void __ubsan_handle_out_of_bounds_abort(void* data, uintptr_t index) {
    undefined(data, soft::IllegalAddress, soft::format("array index %zd is out of bounds", static_cast<ssize_t>(index)));
}
EXPORT void __ubsan_handle_add_overflow_abort(void* data, uintptr_t, uintptr_t) {
    undefined(data, soft::LaunchFailed, "signed addition overflows");
}
EXPORT void __ubsan_handle_sub_overflow_abort(void* data, uintptr_t, uintptr_t) {
    undefined(data, soft::LaunchFailed, "signed subtraction overflows");
}
EXPORT void __ubsan_handle_mul_overflow_abort(void* data, uintptr_t, uintptr_t) {
    undefined(data, soft::LaunchFailed, "signed multiplication overflows");
}
EXPORT void __ubsan_handle_negate_overflow_abort(void* data, uintptr_t) {
    undefined(data, soft::LaunchFailed, "signed negation overflows");
}
EXPORT void __ubsan_handle_divrem_overflow_abort(void* data, uintptr_t, uintptr_t) {
    undefined(data, soft::LaunchFailed, "division by zero or overflow");
}
EXPORT void __ubsan_handle_shift_out_of_bounds_abort(void* data, uintptr_t, uintptr_t) {
    undefined(data, soft::LaunchFailed, "shift by a negative number or by the width of the type or more");
}
