// Beginnings of blocks and of the intervals between two barriers.
#include "device/order.h"

namespace soft {

namespace {
constexpr uint32_t SegmentsMost = 1u << (32 - BlockOrder::LaneBits);
}

const char* verbOf(Touch touch) { return touch == Touch::Read ? "read" : touch == Touch::Write ? "written" : "changed by an atomic"; }

bool BlockOrder::begin(unsigned warps) {
    // Half of the numbers are enough for any one block: a million barriers of 32 warps.
    const bool again = next_ > SegmentsMost / 2;
    if (again) next_ = 1;
    segments_.resize(warps);
    barrier();
    return again;
}

void BlockOrder::barrier() {
    first_ = next_++ << LaneBits;
    owners_.assign(1, 0);
    for (unsigned warp = 0; warp < segments_.size(); warp++) startSegment(warp);
}

}  // namespace soft
