// One thread block on one OS thread. Every CUDA thread is a fiber that runs until it meets a barrier, a warp collective or
// its end; the scheduler below it finds the meetings that are complete and refuses those that never can be.
//
//   Ready -> Collective (waits for the lanes of its mask) -> Ready
//   Ready -> Barrier    (waits for every warp of the block) -> Ready
//   Ready -> Exited
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "device/fault.h"
#include "device/fiber.h"
#include "device/footprint.h"
#include "device/memory.h"
#include "device/order.h"
#include "device/shared.h"

namespace soft {

struct Dim3 {
    unsigned x, y, z;
    uint64_t count() const { return uint64_t(x) * y * z; }
};

enum class Wait : uint8_t { Ready, Collective, Barrier, Exited };
enum class Meeting : uint8_t { SyncWarp, Shuffle, Vote, LoadMatrix, MatrixProduct };

struct PendingCopy {
    uintptr_t destination;
    uintptr_t source;
    unsigned bytes;
    unsigned validBytes;
    unsigned group;
    uint32_t segment;  // the first that begins after it was issued
    const void* caller;
};

struct Fiber {
    void* stackPointer;
    uintptr_t stackLowest;
    Dim3 index;
    unsigned linear, warp, lane;
    Wait wait;
    Meeting meeting;
    uint32_t mask;
    uint32_t line;  // of the source, where it waits
    const void* caller;
    unsigned copyGroup;
    std::vector<PendingCopy> copies;
};

// What lanes hand to a collective and get back: a lane writes in[lane], the scheduler writes out[lane].
struct Warp {
    uint32_t in[32][8];
    uint32_t out[32][4];
};

struct KernelCode {
    std::string name;
    void (*entry)(void** arguments);
    uintptr_t imageStart, imageEnd;
};

struct BlockJob {
    const KernelCode* kernel;
    void** arguments;
    Dim3 gridSize, blockSize;
    unsigned dynamicBytes;
    unsigned sharedMost;  // bytes of static and dynamic shared memory together
    DeviceMemory* memory;
    FaultSlot* faults;
    unsigned seed;
    LaunchFootprint* footprint;
};

class BlockRunner {
public:
    BlockRunner() = default;
    BlockRunner(const BlockRunner&) = delete;
    void prepare(const BlockJob& job);
    void run(uint64_t blockNumber);

    // The fields that every checked access reads come first.
    uintptr_t globalBase = 0;
    uint8_t* globalShadow = nullptr;
    BlockFootprint touched;
    BlockOrder order;
    SharedMemory shared;
    Fiber* fiber = nullptr;
    bool onFiber = false;
    const BlockJob* job = nullptr;
    Dim3 blockIndex{};
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    void* schedulerStack = nullptr;

private:
    void shuffleOrder(uint64_t blockNumber);
    void resume(Fiber& f);
    bool runWarp(unsigned warp);
    bool releaseMeetings(unsigned warp);
    void refuseStuckWarp(unsigned warp);
    void refuseTwoLines(const Fiber& one, const Fiber& other, const char* meeting);
    void releaseBarrier();
    void refuseRaces(uint64_t blockNumber);

    FiberStacks stacks_;
    std::vector<unsigned> order_;
    unsigned laneStep_ = 1, laneStart_ = 0;
};

// The block that this OS thread runs, or null.
extern thread_local BlockRunner* runner;

Fiber* currentFiber();
Stamp currentStamp();
// "thread (5,0,0)", "several threads of warp 1" or "threads of several warps" of the running block.
std::string nameOf(Stamp stamp);
// Suspends the running fiber until its wait is over.
void suspend(Wait wait);
// The running lane's part of a meeting of the lanes in mask; returns this lane's outputs.
const uint32_t* meet(Meeting meeting, uint32_t mask, const uint32_t* words, unsigned count, uint32_t line, const void* caller);
// What the meeting computes, once all lanes are there (collectives.cpp).
void perform(BlockRunner& block, unsigned warp, uint32_t mask, Meeting meeting);

// Ends the launch: names kernel, block, thread and source line. Returns to nobody.
[[noreturn]] void raiseFault(Status status, const std::string& what, const void* caller);
// Thrown on the scheduler's stack only.
struct BlockStopped {};

// A checked access of the running thread (access.cpp).
void checkAccess(uintptr_t address, size_t bytes, Touch touch, const void* caller);
// The source of a cp.async that lands now.
void checkLanding(const PendingCopy& copy);

}  // namespace soft
