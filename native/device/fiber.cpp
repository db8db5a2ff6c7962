// Context switch for x86-64 (System V), and the stacks.
#include "device/fiber.h"

#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#if defined(__x86_64__)
asm(R"(
.text
.globl softSwitch
.hidden softSwitch
.type softSwitch,@function
softSwitch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp,(%rdi)
    mov %rsi,%rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.size softSwitch,.-softSwitch
)");
#else
#error "the software CUDA device switches fibers on x86-64 only; port softSwitch and prepareFiber"
#endif

namespace soft {

namespace {
constexpr size_t GuardBytes = 4096;
constexpr size_t SlotBytes = FiberStackBytes + GuardBytes;
}  // namespace

uint8_t* FiberStacks::lowest(unsigned i) {
    if (!memory_) {
        void* at = mmap(nullptr, SlotBytes * Most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at == MAP_FAILED) {
            fprintf(stderr, "softcuda: no memory for fiber stacks\n");
            abort();
        }
        memory_ = static_cast<uint8_t*>(at);
    }
    for (; guarded_ <= i; guarded_++) mprotect(memory_ + guarded_ * SlotBytes, GuardBytes, PROT_NONE);
    return memory_ + i * SlotBytes + GuardBytes;
}

FiberStacks::~FiberStacks() {
    if (memory_) munmap(memory_, SlotBytes * Most);
}

void* prepareFiber(uint8_t* stackLowest, void (*main)()) {
#ifdef __SANITIZE_ADDRESS__
    // A kernel that ended in a fault left its frames behind, and AddressSanitizer still guards their edges.
    __asan_unpoison_memory_region(stackLowest, FiberStackBytes);
#endif
    auto** top = reinterpret_cast<void**>(stackLowest + FiberStackBytes);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(main);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    return top;
}

}  // namespace soft
