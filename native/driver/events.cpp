// Events: a record is a numbered point of a stream's work. During capture they carry streams into and out of the capture.
#include <chrono>

#include "driver/cuda.h"

using namespace soft;

namespace {

constexpr unsigned DisableTiming = 2;

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Reaching a point never depends on the context's health: a fault must not leave somebody waiting.
Work reach(const std::shared_ptr<Event>& event, uint64_t number) {
    return [event, number] {
        std::lock_guard lock(event->mutex);
        if (event->completed < number) event->completed = number;
        event->seconds = now();
        event->reached.notify_all();
    };
}

}  // namespace

EXPORT int cuEventCreate(void** handle, unsigned flags) {
    Context* context;
    if (int status = enter(context)) return status;
    auto event = std::make_shared<Event>();
    event->context = context;
    event->timing = !(flags & DisableTiming);
    *handle = events().add(event).get();
    return Success;
}

EXPORT int cuEventDestroy_v2(void* handle) {
    return events().take(handle) ? int(Success) : fail(InvalidHandle, "cuEventDestroy: not an event, or one that was destroyed");
}

EXPORT int cuEventRecord(void* handle, void* streamHandle) {
    Context* context;
    int status;
    auto stream = enterStream(streamHandle, context, status);
    if (!stream) return status;
    auto event = events().find(handle);
    if (!event) return fail(InvalidHandle, "cuEventRecord: not an event, or one that was destroyed");
    std::lock_guard lock(event->mutex);
    if (stream->capture) {
        event->inCapture = true;
        event->capture = stream->capture;
        event->captured = stream->capture->tips[stream.get()];
        return Success;
    }
    event->inCapture = false;
    event->capture.reset();
    event->clock = hazards().clockOf(stream->id);
    event->source = stream;
    event->sourceNumber = stream->submit(reach(event, ++event->recorded));
    return Success;
}

EXPORT int cuStreamWaitEvent(void* streamHandle, void* handle, unsigned) {
    Context* context;
    int status;
    auto stream = enterStream(streamHandle, context, status);
    if (!stream) return status;
    auto event = events().find(handle);
    if (!event) return fail(InvalidHandle, "cuStreamWaitEvent: not an event, or one that was destroyed");
    std::lock_guard lock(event->mutex);
    if (auto capture = event->capture.lock()) {
        if (stream->capture && stream->capture != capture)
            return fail(IllegalState, "cuStreamWaitEvent: the event belongs to another capture");
        stream->capture = capture;
        capture->tips[stream.get()].insert(event->captured.begin(), event->captured.end());
        return Success;
    }
    if (event->inCapture) return fail(CapturedEvent, "cuStreamWaitEvent: the event was last recorded in a capture that has ended");
    if (stream->capture) {
        stream->capture->invalid = true;
        return fail(StreamCaptureUnsupported, "cuStreamWaitEvent: a capturing stream waits for an event recorded outside");
    }
    hazards().join(stream->id, event->clock);
    stream->submit([event, number = event->recorded, source = event->source, at = event->sourceNumber] {
        if (auto recorder = source.lock()) recorder->demand(at);
        std::unique_lock waiting(event->mutex);
        event->reached.wait(waiting, [&] { return event->completed >= number; });
    });
    return Success;
}

EXPORT int cuEventSynchronize(void* handle) {
    Context* context;
    if (int status = enter(context)) return status;
    auto event = events().find(handle);
    if (!event) return fail(InvalidHandle, "cuEventSynchronize: not an event, or one that was destroyed");
    trace("cuEventSynchronize", true);
    std::unique_lock lock(event->mutex);
    if (event->inCapture) return fail(CapturedEvent, "cuEventSynchronize: the event was last recorded in a capture");
    if (int status = enterOutsideCapture(context, "cuEventSynchronize")) return status;
    const uint64_t number = event->recorded;
    const Clock clock = event->clock;
    if (auto recorder = event->source.lock()) recorder->demand(event->sourceNumber);
    event->reached.wait(lock, [&] { return event->completed >= number; });
    lock.unlock();
    hazards().hostSaw(clock);
    return sticky(*context);
}

EXPORT int cuEventQuery(void* handle) {
    Context* context;
    if (int status = enter(context)) return status;
    auto event = events().find(handle);
    if (!event) return fail(InvalidHandle, "cuEventQuery: not an event, or one that was destroyed");
    trace("cuEventQuery", true);
    std::lock_guard lock(event->mutex);
    if (event->inCapture) return fail(CapturedEvent, "cuEventQuery: the event was last recorded in a capture");
    if (int status = enterOutsideCapture(context, "cuEventQuery")) return status;
    if (auto recorder = event->source.lock()) recorder->demand(event->sourceNumber);
    if (event->completed < event->recorded) return fail(NotReady, "the event was not reached yet");
    hazards().hostSaw(event->clock);
    return Success;
}

EXPORT int cuEventElapsedTime(float* milliseconds, void* startHandle, void* endHandle) {
    auto start = events().find(startHandle), end = events().find(endHandle);
    if (!start || !end) return fail(InvalidHandle, "cuEventElapsedTime: not an event, or one that was destroyed");
    std::scoped_lock lock(start->mutex, end->mutex);
    if (!start->timing || !end->timing) return fail(InvalidHandle, "cuEventElapsedTime: an event was created without timing");
    if (start->inCapture || end->inCapture) return fail(CapturedEvent, "cuEventElapsedTime: an event was last recorded in a capture");
    if (!start->recorded || !end->recorded) return fail(InvalidHandle, "cuEventElapsedTime: an event was never recorded");
    if (start->completed < start->recorded || end->completed < end->recorded)
        return fail(NotReady, "cuEventElapsedTime: an event was not reached yet");
    *milliseconds = static_cast<float>((end->seconds - start->seconds) * 1e3);
    return Success;
}
