// A fiber is one CUDA thread: a stack and a saved stack pointer. Switching saves the callee-saved registers only (about
// ten instructions); ucontext would make a system call per switch. A fiber never leaves its OS thread.
#pragma once
#include <cstddef>
#include <cstdint>

extern "C" void softSwitch(void** saveStackPointer, void* loadStackPointer);

namespace soft {

constexpr size_t FiberStackBytes = 64 * 1024;

// Stacks for one OS thread, made on demand and reused; below each lies a page that nobody may touch.
class FiberStacks {
public:
    FiberStacks() = default;
    FiberStacks(const FiberStacks&) = delete;
    ~FiberStacks();
    // The lowest usable address of stack i.
    uint8_t* lowest(unsigned i);

private:
    static constexpr unsigned Most = 1024;
    uint8_t* memory_ = nullptr;
    unsigned guarded_ = 0;
};

// A stack pointer that, when switched to, calls main on that stack; main must never return.
void* prepareFiber(uint8_t* stackLowest, void (*main)());

}  // namespace soft
