// Which accesses of one block are ordered. What a warp does between two synchronisations is a segment; segments are numbered as they begin.
// Every byte that may be shared keeps the stamp of its last reader, writer and atomic (the idea of FastTrack: Flanagan, Freund 2009).
//   stamp    64 * segment + lane; lane 32 stands for several lanes of the warp
//   barrier  __syncthreads: every warp begins a segment, and all older stamps are over;  __syncwarp of a whole warp: that warp begins one
//   race     two threads, at least one of which writes, both not by atomics, and the stamp is of this interval between two barriers and of
//            another warp, or of the same segment
// Shuffles, votes and __threadfence order nothing (CUDA C++ guide, 10.22); a __syncwarp of some lanes orders nothing here either.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace soft {

enum class Touch : uint8_t { Read, Write, Atomic };
constexpr size_t Touches = 3;

// "read", "written", "changed by an atomic".
const char* verbOf(Touch touch);

using Stamp = uint32_t;

// Two unordered accesses: which of the bytes, and what the other one was.
struct Clash {
    size_t byte;
    Touch other;
    Stamp who;
};

class BlockOrder {
public:
    static constexpr unsigned LaneBits = 6, SeveralLanes = 32;

    // A new block. True when the numbers began again: stamps from before mean nothing and must be cleared.
    bool begin(unsigned warps);
    void barrier();
    void warpSync(unsigned warp) { startSegment(warp); }

    Stamp now(unsigned warp, unsigned lane) const { return segments_[warp] << LaneBits | lane; }
    // Segments that begin from now on have at least this number.
    uint32_t nextSegment() const { return next_; }

    // Of a stamp of this interval.
    bool isSeveralWarps(Stamp stamp) const { return stamp == first_; }
    unsigned warpOf(Stamp stamp) const { return owners_[(stamp >> LaneBits) - (first_ >> LaneBits)]; }

    // Stamps of `bytes` neighbouring bytes by one kind of touch.
    bool findUnordered(const Stamp* last, size_t bytes, Stamp me, size_t& byte) const {
        for (size_t i = 0; i < bytes; i++) {
            if (ordered(last[i], me)) continue;
            byte = i;
            return true;
        }
        return false;
    }
    // A write is the last one; a read or an atomic stands beside others that nothing orders.
    void stamp(Stamp* last, size_t bytes, Touch touch, Stamp me) const {
        if (touch == Touch::Write)
            for (size_t i = 0; i < bytes; i++) last[i] = me;
        else
            for (size_t i = 0; i < bytes; i++) last[i] = last[i] < first_ ? me : beside(last[i], me);
    }

private:
    void startSegment(unsigned warp) {
        segments_[warp] = next_++;
        owners_.push_back(static_cast<uint8_t>(warp));
    }
    bool ordered(Stamp other, Stamp me) const {
        if (other < first_ || other == me) return true;
        return other != first_ && other >> LaneBits != me >> LaneBits && warpOf(other) == warpOf(me);
    }
    Stamp beside(Stamp other, Stamp me) const {
        if (other == me || other == first_) return other;
        if (other >> LaneBits == me >> LaneBits) return (me >> LaneBits << LaneBits) | SeveralLanes;
        return warpOf(other) == warpOf(me) ? me : first_;
    }

    // first_ is the stamp of this interval's first segment, which is nobody's: it stands for several warps.
    Stamp first_ = 0;
    uint32_t next_ = 1;
    std::vector<uint32_t> segments_;
    std::vector<uint8_t> owners_;
};

}  // namespace soft
