// Streams: a queue and a thread each, the legacy stream's implicit order, and capture.
#include <atomic>

#include "driver/cuda.h"

namespace soft {

namespace {

std::atomic<uint64_t> streamsMade{0};
std::mutex capturesMutex;
std::vector<std::shared_ptr<Capture>> captures;

}  // namespace

Stream::Stream(Context* owner, bool blocksOnLegacy)
    : context(owner), id(++streamsMade), blocking(blocksOnLegacy), thread_([this] { serve(); }) {}

Stream::~Stream() {
    {
        std::lock_guard lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
}

uint64_t Stream::submit(Work work) {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(work));
    wake_.notify_all();
    return ++submitted_;
}

void Stream::demand(uint64_t number) {
    std::lock_guard lock(mutex_);
    if (demanded_ < number) demanded_ = number;
    wake_.notify_all();
}

void Stream::untilDemanded() {
    std::unique_lock lock(mutex_);
    if (std::this_thread::get_id() != thread_.get_id()) return;  // a graph's copy runs in the stream that launched the graph
    wake_.wait(lock, [this] { return stop_ || demanded_ > finished_; });
}

void Stream::waitFor(uint64_t number) {
    demand(number);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return finished_ >= number; });
}

void Stream::synchronize() {
    const Clock clock = hazards().clockOf(id);
    waitFor(submitted());
    hazards().hostSaw(clock);
}

uint64_t Stream::submitted() {
    std::lock_guard lock(mutex_);
    return submitted_;
}

bool Stream::idle() {
    std::lock_guard lock(mutex_);
    return finished_ == submitted_;
}

void Stream::serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait(lock, [this] { return stop_ || !queue_.empty(); });
        if (queue_.empty()) return;
        Work work = std::move(queue_.front());
        queue_.pop_front();
        lock.unlock();
        work();
        work = nullptr;
        lock.lock();
        finished_++;
        done_.notify_all();
    }
}

int enterOutsideCapture(Context*& context, const char* call) {
    if (int status = enter(context)) return status;
    std::lock_guard lock(capturesMutex);
    for (auto& capture : captures) {
        if (capture->owner != std::this_thread::get_id()) continue;
        capture->invalid = true;
        return fail(StreamCaptureUnsupported, format("%s is not permitted while this thread captures a graph", call));
    }
    return Success;
}

std::shared_ptr<Stream> enterStream(void* handle, Context*& context, int& status) {
    status = enter(context);
    if (status) return nullptr;
    auto stream = handle ? streams().find(handle) : context->legacy;
    if (!stream) status = fail(InvalidHandle, format("%p is not a stream, or one that was destroyed", handle));
    else if (stream->context != context)
        status = fail(InvalidHandle, format("a stream of device %d used with the context of device %d", stream->context->device,
                                            context->device));
    return status ? nullptr : stream;
}

int enqueue(Stream& stream, Work work) {
    Context* context = stream.context;
    if (stream.capture) {
        if (stream.capture->invalid) return fail(StreamCaptureInvalidated, "the capture failed earlier");
        Capture& capture = *stream.capture;
        std::set<size_t>& tips = capture.tips[&stream];
        capture.nodes.push_back({[context, inner = std::move(work)] {
            if (!context->faults.raised()) inner();
        }, std::move(tips)});
        tips = {capture.nodes.size() - 1};
        return Success;
    }
    // The legacy stream and the streams that block on it wait for each other's earlier work.
    std::vector<std::pair<std::shared_ptr<Stream>, uint64_t>> before;
    std::vector<Clock> clocks;
    const auto after = [&](const std::shared_ptr<Stream>& other) {
        clocks.push_back(hazards().clockOf(other->id));
        if (!other->idle()) before.emplace_back(other, other->submitted());
    };
    if (&stream == context->legacy.get()) {
        for (auto& other : streams().of(context))
            if (other->blocking && other.get() != &stream) after(other);
    } else if (stream.blocking) {
        after(context->legacy);
    }
    Work guarded = [context, item = hazards().begin(stream.id, clocks), inner = std::move(work)] {
        currentItem = item.get();
        if (!context->faults.raised()) inner();
        currentItem = nullptr;
        const Fault fault = hazards().end(*item);
        if (fault.status) context->faults.set(fault.status, fault.text);
    };
    if (before.empty()) {
        stream.submit(std::move(guarded));
    } else {
        stream.submit([before = std::move(before), guarded = std::move(guarded)]() mutable {
            for (auto& [other, number] : before) other->waitFor(number);
            before.clear();
            guarded();
        });
    }
    return Success;
}

}  // namespace soft

using namespace soft;

namespace {

constexpr unsigned NonBlocking = 1;

// A call that no graph can hold ends the capture of its stream.
int refuseCapturing(Stream& stream, const char* call) {
    if (!stream.capture) return Success;
    stream.capture->invalid = true;
    return fail(StreamCaptureUnsupported, format("%s is not permitted on a capturing stream", call));
}

}  // namespace

EXPORT int cuStreamCreateWithPriority(void** handle, unsigned flags, int) {
    Context* context;
    if (int status = enter(context)) return status;
    if (flags > NonBlocking) return fail(InvalidValue, format("cuStreamCreateWithPriority: flags %u", flags));
    *handle = streams().add(std::make_shared<Stream>(context, flags != NonBlocking)).get();
    return Success;
}

EXPORT int cuStreamCreate(void** handle, unsigned flags) { return cuStreamCreateWithPriority(handle, flags, 0); }

EXPORT int cuStreamDestroy_v2(void* handle) {
    auto stream = streams().find(handle);
    if (!stream || stream == stream->context->legacy)
        return fail(InvalidHandle, format("cuStreamDestroy: %p is not a stream, or one that was destroyed", handle));
    streams().take(handle);
    stream->synchronize();
    return Success;
}

EXPORT int cuStreamSynchronize(void* handle) {
    Context* context;
    int status;
    auto stream = enterStream(handle, context, status);
    if (!stream) return status;
    if (int refused = refuseCapturing(*stream, "cuStreamSynchronize")) return refused;
    if (int forbidden = enterOutsideCapture(context, "cuStreamSynchronize")) return forbidden;
    trace("cuStreamSynchronize", true);
    stream->synchronize();
    return sticky(*context);
}

EXPORT int cuStreamQuery(void* handle) {
    Context* context;
    int status;
    auto stream = enterStream(handle, context, status);
    if (!stream) return status;
    if (int refused = refuseCapturing(*stream, "cuStreamQuery")) return refused;
    if (int forbidden = enterOutsideCapture(context, "cuStreamQuery")) return forbidden;
    trace("cuStreamQuery", true);
    const Clock clock = hazards().clockOf(stream->id);
    stream->demand(stream->submitted());
    if (!stream->idle()) return fail(NotReady, "the stream has work left");
    hazards().hostSaw(clock);
    return Success;
}

EXPORT int cuLaunchHostFunc(void* handle, void (*function)(void*), void* data) {
    Context* context;
    int status;
    auto stream = enterStream(handle, context, status);
    if (!stream) return status;
    trace("cuLaunchHostFunc");
    status = enqueue(*stream, [function, data] {
        inHostFunction() = true;
        function(data);
        inHostFunction() = false;
    });
    if (!stream->capture) stream->demand(stream->submitted());  // the host hears of it: somebody waits
    return status;
}

EXPORT int cuStreamBeginCapture_v2(void* handle, int) {
    Context* context;
    int status;
    auto stream = enterStream(handle, context, status);
    if (!stream) return status;
    if (stream == context->legacy) return fail(StreamCaptureUnsupported, "the legacy stream cannot be captured");
    if (stream->capture) return fail(IllegalState, "the stream is already capturing");
    auto capture = std::make_shared<Capture>();
    capture->origin = stream.get();
    capture->owner = std::this_thread::get_id();
    stream->capture = capture;
    std::lock_guard lock(capturesMutex);
    captures.push_back(capture);
    return Success;
}

EXPORT int cuStreamEndCapture(void* handle, void** graph) {
    *graph = nullptr;
    Context* context;
    int status;
    auto stream = enterStream(handle, context, status);
    if (!stream) return status;
    auto capture = stream->capture;
    if (!capture || capture->origin != stream.get())
        return fail(StreamCaptureUnmatched, "cuStreamEndCapture: the capture did not begin on this stream");
    if (capture->owner != std::this_thread::get_id())
        return fail(StreamCaptureWrongThread, "cuStreamEndCapture: the capture began on another thread");
    {
        std::lock_guard lock(capturesMutex);
        std::erase(captures, capture);
    }
    for (auto& other : streams().of(context))
        if (other->capture == capture) other->capture.reset();
    if (capture->invalid) return fail(StreamCaptureInvalidated, "the capture failed: a call that a graph cannot hold came between");
    auto made = std::make_shared<Graph>();
    made->context = context;
    made->nodes = std::move(capture->nodes);
    std::set<size_t> leaves;
    for (size_t i = 0; i < made->nodes.size(); i++) {
        for (size_t before : made->nodes[i].after) leaves.erase(before);
        leaves.insert(i);
    }
    for (size_t joined : capture->tips[stream.get()]) leaves.erase(joined);
    if (!leaves.empty())
        return fail(StreamCaptureUnjoined, format("node %zu of the capture stands on another stream, and no event joins it back", *leaves.begin()));
    *graph = graphs().add(made).get();
    return Success;
}

// For the look-alikes of cuBLASLt and NCCL: work in stream order, with a fault as result.
EXPORT int softEnqueue(void* handle, std::function<Fault()> work) {
    Context* context;
    int status;
    auto stream = enterStream(handle, context, status);
    if (!stream) return status;
    return enqueue(*stream, [context, work = std::move(work)] {
        const Fault fault = work();
        if (fault.status) context->faults.set(fault.status, fault.text);
    });
}

EXPORT Fault softCheckRange(int device, uintptr_t address, size_t bytes, bool write, const char* what) {
    return checkRange(device, address, bytes, write, what);
}
EXPORT void softNoteTouched(const char* name, uintptr_t address, size_t bytes, bool write) {
    const Range range{address, address + bytes};
    noteTouched(name, write ? Touched{{}, {range}} : Touched{{range}, {}});
}
EXPORT void softMarkWritten(uintptr_t address, size_t bytes) { markWritten(address, bytes); }
EXPORT int softCurrentDevice() { return currentContext() ? currentContext()->device : -1; }
