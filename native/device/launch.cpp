// The block scheduler and the grid's worker threads.
#include "device/launch.h"

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <memory>
#include <numeric>
#include <thread>

namespace soft {

thread_local BlockRunner* runner = nullptr;

namespace {
std::atomic<unsigned> seedInUse{0};
}

void setScheduleSeed(unsigned seed) { seedInUse = seed; }
unsigned scheduleSeed() { return seedInUse; }

Fiber* currentFiber() { return runner->fiber; }
Stamp currentStamp() { return runner->order.now(runner->fiber->warp, runner->fiber->lane); }

std::string nameOf(Stamp stamp) {
    const BlockOrder& order = runner->order;
    if (order.isSeveralWarps(stamp)) return "threads of several warps";
    const unsigned warp = order.warpOf(stamp), lane = stamp % (1u << BlockOrder::LaneBits);
    if (lane == BlockOrder::SeveralLanes) return format("several threads of warp %u", warp);
    const Dim3& at = runner->fibers[32 * warp + lane].index;
    return format("thread (%u,%u,%u)", at.x, at.y, at.z);
}

void suspend(Wait wait) {
    Fiber* me = runner->fiber;
    me->wait = wait;
    softSwitch(&me->stackPointer, runner->schedulerStack);
}

[[noreturn]] void raiseFault(Status status, const std::string& what, const void* caller) {
    BlockRunner& block = *runner;
    if (!block.job->faults->raised()) {
        const Fiber& f = *block.fiber;
        std::string text = format("kernel %s, block (%u,%u,%u), thread (%u,%u,%u): ", block.job->kernel->name.c_str(),
                                  block.blockIndex.x, block.blockIndex.y, block.blockIndex.z, f.index.x, f.index.y, f.index.z);
        text += what;
        const std::string line = sourceLine(caller ? caller : f.caller);
        if (!line.empty()) text += " at " + line;
        block.job->faults->set(status, text);
    }
    if (!block.onFiber) throw BlockStopped{};
    suspend(Wait::Exited);
    abort();
}

namespace {

void fiberMain() {
    runner->job->kernel->entry(runner->job->arguments);
    Fiber& me = *runner->fiber;
    if (!me.copies.empty())
        raiseFault(LaunchFailed, format("ends with %zu cp.async that were not waited for", me.copies.size()),
                   me.copies.front().caller);
    suspend(Wait::Exited);
    abort();
}

}  // namespace

void BlockRunner::prepare(const BlockJob& launched) {
    job = &launched;
    globalBase = launched.memory->base();
    globalShadow = launched.memory->shadow();
    const auto count = static_cast<unsigned>(launched.blockSize.count());
    fibers.resize(count);
    warps.resize((count + 31) / 32);
    order_.resize(warps.size());
    for (unsigned i = 0; i < count; i++) {
        Fiber& f = fibers[i];
        const Dim3& size = launched.blockSize;
        f.stackLowest = reinterpret_cast<uintptr_t>(stacks_.lowest(i));
        f.index = {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
        f.linear = i;
        f.warp = i / 32;
        f.lane = i % 32;
    }
}

void BlockRunner::run(uint64_t blockNumber) {
    const Dim3& grid = job->gridSize;
    blockIndex = {static_cast<unsigned>(blockNumber % grid.x), static_cast<unsigned>(blockNumber / grid.x % grid.y),
                  static_cast<unsigned>(blockNumber / grid.x / grid.y)};
    const bool forgetStamps = order.begin(static_cast<unsigned>(warps.size()));
    shared.reset(job->dynamicBytes, forgetStamps);
    touched.clear(forgetStamps);
    shuffleOrder(blockNumber);
    for (Fiber& f : fibers) {
        f.stackPointer = prepareFiber(reinterpret_cast<uint8_t*>(f.stackLowest), fiberMain);
        f.wait = Wait::Ready;
        f.copyGroup = 0;
        f.copies.clear();
        f.caller = nullptr;
    }
    runner = this;
    try {
        for (;;) {
            bool allExited = true;
            for (unsigned warp : order_) allExited &= runWarp(warp);
            if (allExited) break;
            releaseBarrier();
        }
        refuseRaces(blockNumber);
    } catch (const BlockStopped&) {
    }
    runner = nullptr;
}

// Compares what this block touched with what the blocks did that ended before it.
void BlockRunner::refuseRaces(uint64_t blockNumber) {
    Conflict c;
    if (!job->footprint->add(touched, static_cast<uint32_t>(blockNumber), c)) return;
    fiber = &fibers[c.thread];
    const Dim3& grid = job->gridSize;
    raiseFault(LaunchFailed, format("race on global memory: %s is %s here and %s by block (%u,%u,%u) of the same launch",
                                    job->memory->explain(globalBase + c.offset, true).c_str(), verbOf(c.mine), verbOf(c.other), c.otherBlock % grid.x,
                                    c.otherBlock / grid.x % grid.y, c.otherBlock / grid.x / grid.y), c.caller);
}

void BlockRunner::shuffleOrder(uint64_t blockNumber) {
    std::iota(order_.begin(), order_.end(), 0u);
    laneStep_ = 1, laneStart_ = 0;
    if (job->seed == 0) return;
    uint64_t state = job->seed * 0x9E3779B97F4A7C15u + blockNumber;
    for (size_t i = order_.size(); i > 1; i--) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        std::swap(order_[i - 1], order_[(state >> 33) % i]);
    }
    laneStep_ = 1 | (state >> 40 & 31), laneStart_ = state >> 50 & 31;
}

void BlockRunner::resume(Fiber& f) {
    fiber = &f;
    onFiber = true;
    softSwitch(&schedulerStack, f.stackPointer);
    onFiber = false;
    if (job->faults->raised()) throw BlockStopped{};
}

// Runs a warp until every lane waits at the block's barrier or has exited; true when all have exited.
bool BlockRunner::runWarp(unsigned warp) {
    const unsigned first = warp * 32;
    const unsigned end = std::min<unsigned>(first + 32, static_cast<unsigned>(fibers.size()));
    for (;;) {
        for (unsigned turn = 0; turn < 32; turn++) {
            const unsigned i = first + (turn * laneStep_ + laneStart_) % 32;
            if (i < end && fibers[i].wait == Wait::Ready) resume(fibers[i]);
        }
        if (!releaseMeetings(warp)) break;
    }
    refuseStuckWarp(warp);
    return fibers[first].wait == Wait::Exited;
}

// Performs each meeting whose lanes are all there.
bool BlockRunner::releaseMeetings(unsigned warp) {
    Fiber* lanes = &fibers[warp * 32];
    const unsigned count = std::min<unsigned>(32, static_cast<unsigned>(fibers.size()) - warp * 32);
    bool released = false;
    for (unsigned i = 0; i < count; i++) {
        if (lanes[i].wait != Wait::Collective) continue;
        const uint32_t mask = lanes[i].mask;
        bool complete = true;
        for (unsigned j = 0; j < 32 && complete; j++)
            if (mask >> j & 1)
                complete = j < count && lanes[j].wait == Wait::Collective && lanes[j].mask == mask &&
                           lanes[j].meeting == lanes[i].meeting;
        if (!complete) continue;
        for (unsigned j = i + 1; j < count; j++)
            if (mask >> j & 1 && lanes[j].line != lanes[i].line) refuseTwoLines(lanes[i], lanes[j], "warp collective");
        fiber = &lanes[i];
        perform(*this, warp, mask, lanes[i].meeting);
        for (unsigned j = 0; j < count; j++)
            if (mask >> j & 1) lanes[j].wait = Wait::Ready;
        released = true;
    }
    return released;
}

// A warp whose lanes neither all exited nor all stand at the barrier can never go on.
void BlockRunner::refuseStuckWarp(unsigned warp) {
    const unsigned first = warp * 32;
    const unsigned end = std::min<unsigned>(first + 32, static_cast<unsigned>(fibers.size()));
    uint32_t atBarrier = 0, exited = 0, meeting = 0;
    for (unsigned i = first; i < end; i++) {
        const uint32_t bit = 1u << (i - first);
        (fibers[i].wait == Wait::Barrier ? atBarrier : fibers[i].wait == Wait::Exited ? exited : meeting) |= bit;
        if (fibers[i].wait != Wait::Exited) fiber = &fibers[i];
    }
    if (meeting) {
        for (unsigned i = first; i < end; i++)
            if (fibers[i].wait == Wait::Collective) fiber = &fibers[i];
        raiseFault(LaunchFailed, format("divergent warp collective: mask %08x waits, but of warp %u lanes %08x are in a collective, "
                                        "%08x at __syncthreads and %08x have exited", fiber->mask, warp, meeting, atBarrier,
                                        exited), fiber->caller);
    }
    if (atBarrier && exited)
        raiseFault(LaunchFailed, format("divergent barrier: of warp %u lanes %08x wait at __syncthreads, %08x have exited", warp,
                                        atBarrier, exited), fiber->caller);
}

// On a card, threads that wait in two places may pass together, or never.
void BlockRunner::refuseTwoLines(const Fiber& one, const Fiber& other, const char* meeting) {
    fiber = &fibers[other.linear];
    raiseFault(LaunchFailed, format("divergent %s: it waits here and thread (%u,%u,%u) in line %u", meeting, one.index.x, one.index.y, one.index.z, one.line),
               other.caller);
}

void BlockRunner::releaseBarrier() {
    const Fiber* first = nullptr;
    for (const Fiber& f : fibers) {
        if (f.wait != Wait::Barrier) continue;
        if (first && first->line != f.line) refuseTwoLines(*first, f, "barrier");
        if (!first) first = &f;
    }
    order.barrier();
    for (Fiber& f : fibers)
        if (f.wait == Wait::Barrier) f.wait = Wait::Ready;
}

namespace {

// Helpers that run blocks beside the thread that launched. One grid at a time uses them; others run alone meanwhile.
class Helpers {
public:
    Helpers() {
        const unsigned count = std::max(1u, std::thread::hardware_concurrency());
        for (unsigned i = 1; i < count; i++) threads_.emplace_back([this] { serve(); });
    }
    ~Helpers() {
        {
            std::lock_guard lock(mutex_);
            stop_ = true;
        }
        wake_.notify_all();
        for (std::thread& t : threads_) t.join();
    }
    // Runs work() on this thread and on the helpers, when they are free.
    void run(const std::function<void()>& work) {
        std::unique_lock lock(mutex_);
        if (work_ || threads_.empty()) {
            lock.unlock();
            work();
            return;
        }
        work_ = &work;
        turn_++;
        lock.unlock();
        wake_.notify_all();
        work();
        lock.lock();
        work_ = nullptr;
        done_.wait(lock, [this] { return busy_ == 0; });
    }

private:
    void serve() {
        std::unique_lock lock(mutex_);
        uint64_t seen = 0;
        for (;;) {
            wake_.wait(lock, [&] { return stop_ || (work_ && turn_ != seen); });
            if (stop_) return;
            seen = turn_;
            const std::function<void()>* work = work_;
            busy_++;
            lock.unlock();
            (*work)();
            lock.lock();
            if (--busy_ == 0) done_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_, done_;
    const std::function<void()>* work_ = nullptr;
    uint64_t turn_ = 0;
    unsigned busy_ = 0;
    bool stop_ = false;
    std::vector<std::thread> threads_;
};

// Leaked on purpose: at process exit helpers may still sleep, and joining them from a destructor could hang the exit.
Helpers& helpers() {
    static Helpers* shared = new Helpers;
    return *shared;
}

BlockRunner& runnerOfThisThread() {
    thread_local std::unique_ptr<BlockRunner> mine = std::make_unique<BlockRunner>();
    return *mine;
}

// The i-th block to start: blocks are handed out in ascending order, or, with a seed, in steps that reach each of them once.
uint64_t blockInTurn(uint64_t i, uint64_t total, unsigned seed) {
    if (seed == 0) return i;
    uint64_t step = (seed * 0x9E3779B97F4A7C15u >> 33) % total + 1;
    while (std::gcd(step, total) != 1) step++;
    return (i * step + seed) % total;
}

}  // namespace

Touched runGrid(BlockJob job) {
    LaunchFootprint footprint;
    job.footprint = &footprint;
    std::atomic<uint64_t> next{0};
    const uint64_t total = job.gridSize.count();
    const std::function<void()> work = [&] {
        BlockRunner& mine = runnerOfThisThread();
        mine.prepare(job);
        for (uint64_t i; !job.faults->raised() && (i = next++) < total;) mine.run(blockInTurn(i, total, job.seed));
    };
    if (total == 1) work();
    else helpers().run(work);
    return footprint.touched(job.memory->base());
}

}  // namespace soft
