// What a launch touches in global memory, byte by byte, and the conflicts that follow from it. Blocks of one launch run in any order, at
// once or one after the other: a byte that one block writes and another reads or writes is a race, unless both use atomics.
//   block   W, R, A: bytes written, read, changed by atomics       launch   their unions over the blocks that have ended
//   race    W & (W' | R' | A')  |  R & (W' | A')  |  A & (W' | R')  of a block against the others
// Kept in pages of 4096 bytes, made on first touch. Memory past PagesMost pages in one launch is not watched.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace soft {

enum class Touch : uint8_t { Read, Write, Atomic };

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
    uint64_t masks[3][Words];  // by Touch
};

// Of a block: who touched each 16 bytes last, and where in the source.
struct BlockPage : FootprintPage {
    uint16_t thread[3][Granules];
    const void* caller[3][Granules];
};

// Of the blocks that have ended: which of them touched each 16 bytes last.
struct LaunchPage : FootprintPage {
    uint32_t block[3][Granules];
};

struct Conflict {
    uintptr_t offset;
    Touch mine, other;
    unsigned thread;
    const void* caller;
    uint32_t otherBlock;
};

class BlockFootprint {
public:
    static constexpr size_t PagesMost = 1 << 14;

    void clear();
    void note(uintptr_t offset, size_t bytes, Touch touch, unsigned thread, const void* caller) {
        const size_t at = offset % FootprintPage::Bytes, word = at / 64, bit = at % 64;
        if (bit + bytes > 64) {
            for (size_t i = 0; i < bytes; i++) note(offset + i, 1, touch, thread, caller);
            return;
        }
        BlockPage* page = pageOf(offset / FootprintPage::Bytes);
        if (!page) return;
        const auto kind = static_cast<size_t>(touch);
        page->masks[kind][word] |= (bytes == 64 ? ~uint64_t(0) : (uint64_t(1) << bytes) - 1) << bit;
        page->thread[kind][at / FootprintPage::Granule] = static_cast<uint16_t>(thread);
        page->caller[kind][at / FootprintPage::Granule] = caller;
    }

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
