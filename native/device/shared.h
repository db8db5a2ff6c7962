// Shared memory of one resident thread block, with a state byte per byte, and stamps (order.h) that tell the last accesses of every byte:
// two accesses by different threads race when at least one writes and nothing orders them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "device/memory.h"
#include "device/order.h"

namespace soft {

class SharedMemory {
public:
    static constexpr size_t MostBytes = 232448;  // 227 KiB, the most that any card gives one block
    static constexpr size_t StaticMost = 48 * 1024;

    SharedMemory();
    SharedMemory(const SharedMemory&) = delete;
    ~SharedMemory();

    // A new block: everything unwritten, `dynamicBytes` reachable. `forgetStamps` when their numbers began again.
    void reset(size_t dynamicBytes, bool forgetStamps);

    uint8_t* dynamic() { return bytes_; }
    // The array behind one `SHARED` declaration; the first thread that asks places it. All of a block's may have `most` bytes with the
    // dynamic ones, and StaticMost without.
    void* array(const char* name, const void* declaration, size_t bytes, size_t alignment, size_t most);

    bool contains(uintptr_t address) const { return address - base() < MostBytes; }
    uintptr_t base() const { return reinterpret_cast<uintptr_t>(bytes_); }

    // An access by the running thread; raises a fault when it must not happen.
    void access(uintptr_t address, size_t bytes, Touch touch, const void* caller);
    // cp.async: the destination is in flight from issue to landing.
    void beginCopy(uintptr_t address, size_t bytes, const void* caller);
    void landCopy(uintptr_t address, size_t bytes, const void* caller);

private:
    struct Array {
        const void* declaration;
        const char* name;
        size_t offset, bytes;
    };

    void checkStates(size_t offset, size_t bytes, bool write, const void* caller) const;
    void record(size_t offset, size_t bytes, Touch touch, const void* caller);
    // "offset 130", or "offset 2 of partial" inside or right behind a declared array.
    std::string place(size_t offset) const;

    uint8_t* bytes_;
    std::vector<uint8_t> states_;
    std::vector<Stamp> stamps_[Touches];
    std::vector<Array> arrays_;
    size_t dynamicBytes_ = 0;
    size_t top_ = 0;
};

}  // namespace soft
