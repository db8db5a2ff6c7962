// The memory of one software device: a reserved range of addresses with one state byte beside every byte.
//   address = base + offset,  state = shadow[offset]  in { outside, never written, written }
// Addresses are never handed out twice, so a pointer that outlived its allocation is always recognised.
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "device/fault.h"

namespace soft {

// CopyInFlight: a copy brings these bytes and nothing may touch them; Leaving: a copy reads them and nothing may write them. Global memory
// has the two only while softSetLateCopies asks for them.
enum ByteState : uint8_t { Outside = 0, NeverWritten = 1, Written = 2, CopyInFlight = 3, Leaving = 4 };

struct Allocation {
    uintptr_t start;
    size_t bytes;
    unsigned number;
    bool live;
};

class DeviceMemory {
public:
    static constexpr size_t RangeBytes = size_t(1) << 38;

    DeviceMemory(int device, size_t capacityBytes);
    DeviceMemory(const DeviceMemory&) = delete;

    // 0 when the capacity is used up or bytes is 0.
    uintptr_t allocate(size_t bytes);
    // False when the address is not the start of a live allocation.
    bool release(uintptr_t start);

    bool contains(uintptr_t address) const { return address - base_ < RangeBytes; }
    uint8_t* state(uintptr_t address) const { return shadow_ + (address - base_); }
    uintptr_t base() const { return base_; }
    uint8_t* shadow() const { return shadow_; }

    // The first byte of a range that a read or write must not touch, or bytes when all are fine.
    size_t firstBad(uintptr_t address, size_t bytes, bool write) const;
    // What is wrong with one byte: "9 bytes past the end of allocation 3 (4096 bytes at 0x...)".
    std::string explain(uintptr_t address, bool write);

    size_t capacityBytes() const { return capacityBytes_; }
    size_t usedBytes();
    std::vector<Allocation> live();
    // Frees everything, as the end of a context does.
    void reset();

    const int device;

private:
    uintptr_t base_;
    uint8_t* shadow_;
    size_t capacityBytes_;
    size_t usedBytes_ = 0;
    size_t next_ = 1 << 16;
    unsigned count_ = 0;
    std::map<uintptr_t, Allocation> allocations_;
    std::mutex mutex_;
};

// Page-locked host memory: known to the driver, visible to kernels, checked for bounds only.
class HostMemory {
public:
    enum class Kind { Allocated, Registered };
    struct Locked {
        size_t bytes;
        Kind kind;
        int device;  // whose context locked it
    };

    void add(uintptr_t start, const Locked& locked);
    // False when nothing of this kind starts there.
    bool remove(uintptr_t start, Kind kind);
    bool contains(uintptr_t address, size_t bytes);
    bool overlaps(uintptr_t address, size_t bytes);
    // Forgets, and gives, what a context that ends has left locked.
    std::map<uintptr_t, Locked> takeOf(int device);

private:
    std::map<uintptr_t, Locked> ranges_;
    std::mutex mutex_;
};

int deviceCount();
DeviceMemory& deviceMemory(int device);
HostMemory& hostMemory();
// The device that owns an address, or -1.
int ownerOf(uintptr_t address);

// Reads or writes of the driver itself (copies, products): Success, or a fault text for `what`.
Fault checkRange(int device, uintptr_t address, size_t bytes, bool write, const char* what);
// Marks a range as written.
void markWritten(uintptr_t address, size_t bytes);

}  // namespace soft
