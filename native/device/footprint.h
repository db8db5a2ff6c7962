// What a launch touches in global memory, byte by byte, and the conflicts that follow from it. Blocks of one launch run in any order, at
// once or one after the other: a byte that one block writes and another reads or writes is a race, unless both use atomics.
//   block   W, R, A: bytes written, read, changed by atomics       launch   their unions over the blocks that have ended
//   race    W & (W' | R' | A')  |  R & (W' | A')  |  A & (W' | R')  of a block against the others
// Within a block the same table holds for two of its threads, unless they are ordered (order.h): every byte has its stamps.
// Kept in pages of 4096 bytes, made on first touch. Past PagesMost pages in one launch, and StampedMost in one block, nothing is watched.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "device/order.h"

namespace soft {

// Bytes [start, end) of a device's addresses.
struct Range {
    uintptr_t start, end;
};

// Sorted, without overlaps or contacts.
void normalize(std::vector<Range>& ranges);

// What a piece of work read and wrote; atomics write.
struct Touched {
    std::vector<Range> reads, writes;
};

struct FootprintPage {
    static constexpr size_t Bytes = 4096, Words = Bytes / 64, Granule = 16, Granules = Bytes / Granule;
    uint64_t masks[Touches][Words];
};

// Of a block: who touched each 16 bytes last, and where in the source; and the stamps of every byte, or null past StampedMost.
struct BlockPage : FootprintPage {
    uint16_t thread[Touches][Granules];
    const void* caller[Touches][Granules];
    std::unique_ptr<Stamp[]> stamps;
    Stamp* stampsOf(Touch touch, size_t at) const { return stamps.get() + static_cast<size_t>(touch) * Bytes + at; }
};

// Of the blocks that have ended: which of them touched each 16 bytes last.
struct LaunchPage : FootprintPage {
    uint32_t block[Touches][Granules];
};

// Between two blocks.
struct Conflict {
    uintptr_t offset;
    Touch mine, other;
    unsigned thread;
    const void* caller;
    uint32_t otherBlock;
};

class BlockFootprint {
public:
    static constexpr size_t PagesMost = 1 << 14, StampedMost = 1 << 12;

    // A new block; `forgetStamps` when their numbers began again.
    void clear(bool forgetStamps);
    // True, with the clash, when another thread of the block touched one of the bytes, and nothing orders the two.
    bool note(uintptr_t offset, size_t bytes, Touch touch, unsigned thread, const void* caller, const BlockOrder& order, Stamp me, Clash& clash) {
        const size_t at = offset % FootprintPage::Bytes, word = at / 64, bit = at % 64;
        if (bit + bytes > 64) {
            for (size_t i = 0; i < bytes; i++) {
                if (!note(offset + i, 1, touch, thread, caller, order, me, clash)) continue;
                clash.byte = i;
                return true;
            }
            return false;
        }
        BlockPage* page = pageOf(offset / FootprintPage::Bytes);
        if (!page) return false;
        const auto kind = static_cast<size_t>(touch);
        const uint64_t mask = (bytes == 64 ? ~uint64_t(0) : (uint64_t(1) << bytes) - 1) << bit;
        if (page->stamps) {
            // Most bytes meet only their own kind of touch in a whole block, which reads and atomics may.
            for (size_t other = 0; other < Touches; other++) {
                if (!(page->masks[other][word] & mask) || (other == kind && touch != Touch::Write)) continue;
                const Stamp* last = page->stampsOf(Touch(other), at);
                if (!order.findUnordered(last, bytes, me, clash.byte)) continue;
                clash.other = Touch(other);
                clash.who = last[clash.byte];
                return true;
            }
            order.stamp(page->stampsOf(touch, at), bytes, touch, me);
        }
        page->masks[kind][word] |= mask;
        page->thread[kind][at / FootprintPage::Granule] = static_cast<uint16_t>(thread);
        page->caller[kind][at / FootprintPage::Granule] = caller;
        return false;
    }
    // The first of the bytes that was written in a segment from this one on, or `bytes`.
    size_t writtenSince(uintptr_t offset, size_t bytes, uint32_t segment, Stamp& who);
    // Where the last touch of this kind near the byte stands in the source.
    const void* callerNear(uintptr_t offset, Touch touch);

    std::unordered_map<uintptr_t, BlockPage*> pages;

private:
    static constexpr size_t Recent = 64;

    BlockPage* pageOf(uintptr_t number) {
        const size_t slot = number % Recent;
        return recentNumber_[slot] == number + 1 ? recent_[slot] : lookUp(number);
    }
    BlockPage* lookUp(uintptr_t number);

    uintptr_t recentNumber_[Recent] = {};
    BlockPage* recent_[Recent] = {};
    std::vector<std::unique_ptr<BlockPage>> pool_;
};

class LaunchFootprint {
public:
    // Adds an ended block. True, with the first conflict, when it races with one that ended before.
    bool add(const BlockFootprint& block, uint32_t number, Conflict& conflict);
    Touched touched(uintptr_t base) const;

private:
    std::unordered_map<uintptr_t, std::unique_ptr<LaunchPage>> pages_;
    std::mutex mutex_;
};

}  // namespace soft
