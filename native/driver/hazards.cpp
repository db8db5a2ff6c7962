// Clocks of streams, and the comparison of what unordered work touched.
#include "driver/hazards.h"

#include <algorithm>

#include "device/memory.h"

namespace soft {

namespace {

void merge(Clock& into, const Clock& from) {
    for (const auto& [stream, number] : from) {
        uint64_t& mine = into[stream];
        if (mine < number) mine = number;
    }
}

bool knows(const Clock& clock, uint64_t stream, uint64_t number) {
    auto found = clock.find(stream);
    return found != clock.end() && found->second >= number;
}

// The first byte that lies in both, or 0.
uintptr_t shared(const std::vector<Range>& a, const std::vector<Range>& b) {
    for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
        if (a[i].end <= b[j].start) i++;
        else if (b[j].end <= a[i].start) j++;
        else return std::max(a[i].start, b[j].start);
    }
    return 0;
}

// A byte that both touch and at least one writes.
struct Meeting {
    uintptr_t at = 0;
    bool iWrite = false, otherWrites = false;
};

Meeting meeting(const Touched& mine, const Touched& other) {
    if (uintptr_t at = shared(mine.writes, other.writes)) return {at, true, true};
    if (uintptr_t at = shared(mine.writes, other.reads)) return {at, true, false};
    if (uintptr_t at = shared(mine.reads, other.writes)) return {at, false, true};
    return {};
}

std::string placeOf(uintptr_t at) {
    const int device = ownerOf(at);
    return device < 0 ? format("0x%zx", static_cast<size_t>(at)) : deviceMemory(device).explain(at, true);
}

const char* verb(bool writes) { return writes ? "writes" : "reads"; }

size_t rangesOf(const WorkItem& item) {
    size_t count = 0;
    for (const Part& part : item.parts) count += part.touched.reads.size() + part.touched.writes.size();
    return count;
}

}  // namespace

thread_local WorkItem* currentItem = nullptr;

// Leaked on purpose: streams may still end work while the process exits.
Hazards& hazards() {
    static auto* one = new Hazards;
    return *one;
}

void noteTouched(const char* name, Touched touched) {
    if (!currentItem) return;
    std::vector<Part>& parts = currentItem->parts;
    if (parts.empty() || parts.back().name != name || parts.back().node != currentItem->node) parts.push_back({name, {}, currentItem->node});
    Touched& all = parts.back().touched;
    all.reads.insert(all.reads.end(), touched.reads.begin(), touched.reads.end());
    all.writes.insert(all.writes.end(), touched.writes.begin(), touched.writes.end());
}

void beginNode(size_t node) {
    if (currentItem) currentItem->node = node;
}

Fault endNode(const std::vector<size_t>& beside) {
    if (!currentItem) return {};
    std::vector<Part>& parts = currentItem->parts;
    for (auto mine = parts.rbegin(); mine != parts.rend() && mine->node == currentItem->node; ++mine) {
        normalize(mine->touched.reads);
        normalize(mine->touched.writes);
        for (const Part& other : parts) {
            if (!std::binary_search(beside.begin(), beside.end(), other.node)) continue;
            const Meeting met = meeting(mine->touched, other.touched);
            if (!met.at) continue;
            return {LaunchFailed, format("race in a graph: %s (node %zu) %s %s, which %s (node %zu) %s, and no edge orders the two", mine->name.c_str(), mine->node,
                                         verb(met.iWrite), placeOf(met.at).c_str(), other.name.c_str(), other.node, verb(met.otherWrites))};
        }
    }
    return {};
}

std::shared_ptr<WorkItem> Hazards::begin(uint64_t stream, const std::vector<Clock>& also) {
    std::lock_guard lock(mutex_);
    Clock& clock = streams_[stream];
    merge(clock, host_);
    for (const Clock& other : also) merge(clock, other);
    auto item = std::make_shared<WorkItem>(WorkItem{stream, ++numbers_[stream], clock, {}, 0});
    clock[stream] = item->number;
    running_++;
    return item;
}

Fault Hazards::end(WorkItem& item) {
    for (Part& part : item.parts) {
        normalize(part.touched.reads);
        normalize(part.touched.writes);
    }
    std::lock_guard lock(mutex_);
    for (const WorkItem& other : ended_) {
        if (other.stream == item.stream || knows(item.before, other.stream, other.number) || knows(other.before, item.stream, item.number)) continue;
        for (const Part& mine : item.parts) {
            for (const Part& theirs : other.parts) {
                const Meeting met = meeting(mine.touched, theirs.touched);
                if (!met.at) continue;
                running_--;
                return {LaunchFailed, format("race between streams: %s %s %s, which %s %s on another stream, and no event orders the two", mine.name.c_str(),
                                             verb(met.iWrite), placeOf(met.at).c_str(), theirs.name.c_str(), verb(met.otherWrites))};
            }
        }
    }
    if (!item.parts.empty()) {
        ranges_ += rangesOf(item);
        ended_.push_back(std::move(item));
    }
    // What the host saw finish comes before all work that is still to be called, and nothing is under way that it could meet.
    if (--running_ == 0)
        std::erase_if(ended_, [this](const WorkItem& old) {
            if (!knows(host_, old.stream, old.number)) return false;
            ranges_ -= rangesOf(old);
            return true;
        });
    while (ended_.size() > ItemsMost || ranges_ > RangesMost) {
        ranges_ -= rangesOf(ended_.front());
        ended_.pop_front();
    }
    return {};
}

Clock Hazards::clockOf(uint64_t stream) {
    std::lock_guard lock(mutex_);
    return streams_[stream];
}

void Hazards::join(uint64_t stream, const Clock& clock) {
    std::lock_guard lock(mutex_);
    merge(streams_[stream], clock);
}

void Hazards::hostSaw(const Clock& clock) {
    std::lock_guard lock(mutex_);
    merge(host_, clock);
}

}  // namespace soft
