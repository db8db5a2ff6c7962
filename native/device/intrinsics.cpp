// What the kernel prelude calls: indices, barriers, shuffles, shared memory, cp.async, matrix products, atomics.
#include <atomic>
#include <cstring>

#include "device/block.h"

#define EXPORT extern "C" __attribute__((visibility("default")))
#define CALLER __builtin_return_address(0)

using namespace soft;

EXPORT Dim3 soft_thread_index() { return currentFiber()->index; }
EXPORT Dim3 soft_block_index() { return runner->blockIndex; }
EXPORT Dim3 soft_block_size() { return runner->job->blockSize; }
EXPORT Dim3 soft_grid_size() { return runner->job->gridSize; }

EXPORT void soft_barrier(uint32_t line) {
    currentFiber()->caller = CALLER;
    currentFiber()->line = line;
    suspend(Wait::Barrier);
}

EXPORT void soft_warp_sync(uint32_t mask, uint32_t line) { meet(Meeting::SyncWarp, mask, nullptr, 0, line, CALLER); }

EXPORT uint64_t soft_shuffle(uint32_t mask, uint64_t value, uint32_t sourceLane, uint32_t line) {
    const uint32_t words[3] = {static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32), sourceLane};
    const uint32_t* got = meet(Meeting::Shuffle, mask, words, 3, line, CALLER);
    return got[0] | uint64_t(got[1]) << 32;
}

EXPORT uint32_t soft_vote(uint32_t mask, int predicate, uint32_t line) {
    const uint32_t word = predicate != 0;
    return meet(Meeting::Vote, mask, &word, 1, line, CALLER)[0];
}

EXPORT void* soft_shared_dynamic() { return runner->shared.dynamic(); }
EXPORT void* soft_shared_array(const char* name, const void* declaration, uint64_t bytes, uint64_t alignment) {
    return runner->shared.array(name, declaration, bytes, alignment, runner->job->sharedMost);
}
EXPORT uint32_t soft_shared_offset(const void* pointer) {
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    if (!runner->shared.contains(address))
        raiseFault(IllegalAddress, format("0x%zx is not an address of shared memory", static_cast<size_t>(address)), CALLER);
    return static_cast<uint32_t>(address - runner->shared.base());
}

EXPORT void soft_load_matrix(uint32_t* registers, uint32_t offset, uint32_t matrices, int transposed, uint32_t line) {
    const uint32_t words[3] = {offset, matrices, transposed != 0};
    const uint32_t* got = meet(Meeting::LoadMatrix, ~0u, words, 3, line, CALLER);
    for (uint32_t m = 0; m < matrices; m++) registers[m] = got[m];
}

EXPORT void soft_multiply_bf16(const uint32_t* a, const uint32_t* b, float* d, uint32_t line) {
    const uint32_t words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    const uint32_t* got = meet(Meeting::MatrixProduct, ~0u, words, 6, line, CALLER);
    for (int i = 0; i < 4; i++) {
        float part;
        memcpy(&part, &got[i], 4);
        d[i] += part;
    }
}

// cp.async lands as late as the program allows: when its group is waited for. Until then its target is untouchable.
EXPORT void soft_copy_async(uint32_t offset, const void* source, uint32_t bytes, uint32_t validBytes) {
    const uintptr_t from = reinterpret_cast<uintptr_t>(source), to = runner->shared.base() + offset;
    if (from % bytes || offset % bytes)
        raiseFault(MisalignedAddress, format("cp.async of %u bytes from 0x%zx to shared offset %u: both must be multiples of %u",
                                             bytes, static_cast<size_t>(from), offset, bytes), CALLER);
    if (validBytes) checkAccess(from, validBytes, Touch::Read, CALLER);
    runner->shared.beginCopy(to, bytes, CALLER);
    Fiber& me = *currentFiber();
    me.copies.push_back({to, from, bytes, validBytes, me.copyGroup, runner->order.nextSegment(), CALLER});
}

EXPORT void soft_copy_commit() { currentFiber()->copyGroup++; }

EXPORT void soft_copy_wait(uint32_t pendingGroups) {
    Fiber& me = *currentFiber();
    const unsigned landed = me.copyGroup > pendingGroups ? me.copyGroup - pendingGroups : 0;
    size_t kept = 0;
    for (size_t i = 0; i < me.copies.size(); i++) {
        const PendingCopy copy = me.copies[i];
        if (copy.group >= landed) {
            me.copies[kept++] = copy;
            continue;
        }
        if (copy.validBytes) checkLanding(copy);
        runner->shared.landCopy(copy.destination, copy.bytes, CALLER);
        auto* to = reinterpret_cast<uint8_t*>(copy.destination);
        memcpy(to, reinterpret_cast<const void*>(copy.source), copy.validBytes);
        memset(to + copy.validBytes, 0, copy.bytes - copy.validBytes);
    }
    me.copies.resize(kept);
}

namespace {

// Bounds, initialisation and alignment of an atomic; blocks run on several OS threads, so the operation is atomic for real.
template <class T>
std::atomic_ref<T> atomicTarget(T* target, const void* caller) {
    const auto address = reinterpret_cast<uintptr_t>(target);
    if (address % sizeof(T))
        raiseFault(MisalignedAddress, format("atomic at 0x%zx, which is not a multiple of %zu bytes",
                                             static_cast<size_t>(address), sizeof(T)), caller);
    checkAccess(address, sizeof(T), Touch::Atomic, caller);
    return std::atomic_ref<T>(*target);
}

}  // namespace

EXPORT float soft_atomic_add_f32(float* target, float value) { return atomicTarget(target, CALLER).fetch_add(value); }
EXPORT uint32_t soft_atomic_add_u32(uint32_t* target, uint32_t value) { return atomicTarget(target, CALLER).fetch_add(value); }
EXPORT uint64_t soft_atomic_add_u64(uint64_t* target, uint64_t value) { return atomicTarget(target, CALLER).fetch_add(value); }
EXPORT uint32_t soft_atomic_or_u32(uint32_t* target, uint32_t value) { return atomicTarget(target, CALLER).fetch_or(value); }
EXPORT uint32_t soft_atomic_exchange_u32(uint32_t* target, uint32_t value) { return atomicTarget(target, CALLER).exchange(value); }
EXPORT uint32_t soft_atomic_cas_u32(uint32_t* target, uint32_t expected, uint32_t value) {
    atomicTarget(target, CALLER).compare_exchange_strong(expected, value);
    return expected;
}
EXPORT uint32_t soft_atomic_max_u32(uint32_t* target, uint32_t value) {
    auto t = atomicTarget(target, CALLER);
    uint32_t old = t.load();
    while (old < value && !t.compare_exchange_weak(old, value)) {
    }
    return old;
}
