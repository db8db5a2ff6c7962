// Shared memory of one resident thread block, with a state byte per byte and the last reader and writer of every 2 bytes.
// Two accesses by different threads race when at least one writes and no barrier lies between them: the block's barrier
// count differs between ordered accesses, and so does the warp's __syncwarp count within one warp.
#pragma once
#include <cstdint>
#include <vector>

#include "device/memory.h"

namespace soft {

struct Fiber;

class SharedMemory {
public:
    static constexpr size_t MostBytes = 232448;  // 227 KiB, the most that any card gives one block

    SharedMemory();

    // A new block: everything unwritten, `dynamicBytes` reachable.
    void reset(size_t dynamicBytes);
    // The block passed __syncthreads.
    void barrier() { interval_++; }

    uint8_t* dynamic() { return bytes_; }
    // The array behind one `SHARED` declaration; the first thread that asks places it.
    void* array(const void* declaration, size_t bytes, size_t alignment);

    bool contains(uintptr_t address) const { return address - base() < MostBytes; }
    uintptr_t base() const { return reinterpret_cast<uintptr_t>(bytes_); }

    // An access by the running thread; raises a fault when it must not happen.
    void access(uintptr_t address, size_t bytes, bool write, const void* caller);
    // An atomic access: it races with plain accesses, not with other atomics.
    void atomic(uintptr_t address, size_t bytes, const void* caller);
    // cp.async: the destination is in flight from issue to landing.
    void beginCopy(uintptr_t address, size_t bytes, const void* caller);
    void landCopy(uintptr_t address, size_t bytes, const void* caller);

private:
    // Codes above every thread index (blocks have at most 1024 threads).
    static constexpr uint16_t Nobody = 0xFFFF;
    static constexpr uint16_t SeveralWarps = 0xFFFE;
    static constexpr uint16_t SeveralOfWarp = 0x8000;

    struct Record {
        uint32_t writeInterval;
        uint32_t readInterval;
        uint32_t atomicInterval;
        uint16_t writeWarpInterval;
        uint16_t readWarpInterval;
        uint16_t writer;
        uint16_t reader;
        uint16_t atomicActor;
    };

    struct Array {
        const void* declaration;
        size_t offset;
    };

    void checkStates(size_t offset, size_t bytes, bool write, const void* caller) const;
    enum class Kind { Read, Write, Atomic };
    void record(size_t offset, size_t bytes, Kind kind, const void* caller);
    bool ordered(uint16_t other, uint16_t otherWarpInterval, const Fiber& me) const;

    uint8_t* bytes_;
    std::vector<uint8_t> states_;
    std::vector<Record> records_;
    std::vector<Array> arrays_;
    size_t dynamicBytes_ = 0;
    size_t top_ = 0;
    uint32_t interval_ = 1;
};

}  // namespace soft
