// Races between streams. Every piece of work has a number on its stream and a clock: how far along each other stream had to be before
// it could start (vector clocks: Lamport 1978, Mattern 1989). Stream order, an event waited for, the legacy stream's rule and what the
// host saw finish advance a clock. Two pieces of which neither clock knows the other may run at the same time: they must not touch
// the same byte unless both only read. Judged when the later of the two ends, from what each really touched. Nodes of one graph are
// held to the same rule, with the graph's edges as the only order.
#pragma once
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device/fault.h"
#include "device/footprint.h"

namespace soft {

// By stream: the number of the last piece of its work that is known to be over.
using Clock = std::map<uint64_t, uint64_t>;

// One kernel, copy or product; a graph has several.
struct Part {
    std::string name;
    Touched touched;
    size_t node = 0;
};

struct WorkItem {
    uint64_t stream, number;
    Clock before;
    std::vector<Part> parts;
    size_t node = 0;  // of a graph: the one that runs now
};

class Hazards {
public:
    // A new piece of a stream's work, which starts after everything that `also` knows.
    std::shared_ptr<WorkItem> begin(uint64_t stream, const std::vector<Clock>& also);
    // It has run (or was skipped, then it touched nothing); the fault is a race with work that ended before.
    Fault end(WorkItem& item);

    Clock clockOf(uint64_t stream);
    // Later work of the stream starts after everything that the clock knows.
    void join(uint64_t stream, const Clock& clock);
    // So does all later work: the host saw it finish.
    void hostSaw(const Clock& clock);

private:
    static constexpr size_t ItemsMost = 4096, RangesMost = 1 << 20;

    std::mutex mutex_;
    std::map<uint64_t, Clock> streams_;
    std::map<uint64_t, uint64_t> numbers_;
    Clock host_;
    std::deque<WorkItem> ended_;
    size_t ranges_ = 0, running_ = 0;
};

Hazards& hazards();
// The piece of work that this thread runs, or null.
extern thread_local WorkItem* currentItem;
// The current piece, a graph, goes on with its node; the last one may have touched what an earlier one of `beside` did. The fault names both.
void beginNode(size_t node);
Fault endNode(const std::vector<size_t>& beside);
// A kernel, copy or product of the current piece touched this.
void noteTouched(const char* name, Touched touched);

}  // namespace soft
