// Pages of touched bytes: made, compared, added up, turned into ranges.
#include "device/footprint.h"

#include <algorithm>
#include <cstring>

namespace soft {

namespace {

constexpr size_t Read = size_t(Touch::Read), Write = size_t(Touch::Write), Atomic = size_t(Touch::Atomic);

// The bytes of a word where `mine` of one block and `other` of another may not meet.
uint64_t clash(const FootprintPage& mine, const FootprintPage& other, size_t word, size_t my, size_t their) {
    if (my == their && my != Write) return 0;
    return mine.masks[my][word] & other.masks[their][word];
}

void append(std::vector<Range>& ranges, uintptr_t start, uint64_t mask) {
    for (unsigned bit = 0; bit < 64;) {
        if (!(mask >> bit & 1)) {
            bit++;
            continue;
        }
        unsigned end = bit;
        while (end < 64 && mask >> end & 1) end++;
        if (!ranges.empty() && ranges.back().end == start + bit) ranges.back().end = start + end;
        else ranges.push_back({start + bit, start + end});
        bit = end;
    }
}

}  // namespace

void normalize(std::vector<Range>& ranges) {
    std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.start < b.start; });
    size_t kept = 0;
    for (const Range& r : ranges) {
        if (kept && r.start <= ranges[kept - 1].end) ranges[kept - 1].end = std::max(ranges[kept - 1].end, r.end);
        else ranges[kept++] = r;
    }
    ranges.resize(kept);
}

void BlockFootprint::clear(bool forgetStamps) {
    if (forgetStamps) pool_.clear();
    pages.clear();
    memset(recentNumber_, 0, sizeof recentNumber_);
}

BlockPage* BlockFootprint::lookUp(uintptr_t number) {
    BlockPage*& page = pages[number];
    if (!page && pages.size() <= PagesMost) {
        if (pool_.size() < pages.size()) {
            pool_.push_back(std::make_unique<BlockPage>());
            if (pool_.size() <= StampedMost) pool_.back()->stamps = std::make_unique<Stamp[]>(Touches * FootprintPage::Bytes);
        }
        page = pool_[pages.size() - 1].get();
        memset(page->masks, 0, sizeof page->masks);
    }
    recentNumber_[number % Recent] = number + 1;
    recent_[number % Recent] = page;
    return page;
}

size_t BlockFootprint::writtenSince(uintptr_t offset, size_t bytes, uint32_t segment, Stamp& who) {
    for (size_t i = 0; i < bytes; i++) {
        const size_t at = (offset + i) % FootprintPage::Bytes;
        const BlockPage* page = pageOf((offset + i) / FootprintPage::Bytes);
        if (!page || !page->stamps || !(page->masks[Write][at / 64] >> at % 64 & 1)) continue;
        who = *page->stampsOf(Touch::Write, at);
        if (who >> BlockOrder::LaneBits >= segment) return i;
    }
    return bytes;
}

const void* BlockFootprint::callerNear(uintptr_t offset, Touch touch) {
    const BlockPage* page = pageOf(offset / FootprintPage::Bytes);
    return page ? page->caller[size_t(touch)][offset % FootprintPage::Bytes / FootprintPage::Granule] : nullptr;
}

bool LaunchFootprint::add(const BlockFootprint& block, uint32_t number, Conflict& conflict) {
    std::lock_guard lock(mutex_);
    for (const auto& [pageNumber, mine] : block.pages) {
        if (!mine) continue;
        auto found = pages_.find(pageNumber);
        if (found == pages_.end()) {
            if (pages_.size() >= BlockFootprint::PagesMost) continue;
            found = pages_.emplace(pageNumber, std::make_unique<LaunchPage>()).first;
        }
        LaunchPage& all = *found->second;
        for (size_t word = 0; word < FootprintPage::Words; word++) {
            for (size_t my = 0; my < Touches; my++) {
                if (!mine->masks[my][word]) continue;
                for (size_t their = 0; their < Touches; their++) {
                    const uint64_t bad = clash(*mine, all, word, my, their);
                    if (!bad) continue;
                    const size_t at = 64 * word + static_cast<size_t>(__builtin_ctzll(bad)), granule = at / FootprintPage::Granule;
                    conflict = {pageNumber * FootprintPage::Bytes + at, Touch(my), Touch(their), mine->thread[my][granule],
                                mine->caller[my][granule], all.block[their][granule]};
                    return true;
                }
            }
        }
        for (size_t kind = 0; kind < Touches; kind++) {
            for (size_t word = 0; word < FootprintPage::Words; word++) {
                const uint64_t mask = mine->masks[kind][word];
                if (!mask) continue;
                all.masks[kind][word] |= mask;
                for (size_t g = 0; g < 4; g++)
                    if (mask >> 16 * g & 0xFFFF) all.block[kind][4 * word + g] = number;
            }
        }
    }
    return false;
}

Touched LaunchFootprint::touched(uintptr_t base) const {
    std::vector<uintptr_t> numbers;
    for (const auto& [number, page] : pages_) numbers.push_back(number);
    std::sort(numbers.begin(), numbers.end());
    Touched found;
    for (uintptr_t number : numbers) {
        const LaunchPage& page = *pages_.at(number);
        for (size_t word = 0; word < FootprintPage::Words; word++) {
            const uintptr_t start = base + number * FootprintPage::Bytes + 64 * word;
            append(found.reads, start, page.masks[Read][word]);
            append(found.writes, start, page.masks[Write][word] | page.masks[Atomic][word]);
        }
    }
    return found;
}

}  // namespace soft
