// A fault is the first thing that a kernel did wrong: a CUDA status for the program, a sentence for the person.
// It is raised at the spot (in a fiber or in the scheduler), stops the whole launch, and sticks to the context.
#pragma once
#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

namespace soft {

enum Status : int {
    Success = 0,
    InvalidValue = 1,
    OutOfMemory = 2,
    NotInitialized = 3,
    InvalidDevice = 101,
    InvalidImage = 200,
    InvalidContext = 201,
    InvalidHandle = 400,
    IllegalState = 401,
    NotFound = 500,
    NotReady = 600,
    IllegalAddress = 700,
    LaunchOutOfResources = 701,
    HostMemoryAlreadyRegistered = 712,
    HostMemoryNotRegistered = 713,
    MisalignedAddress = 716,
    LaunchFailed = 719,
    NotPermitted = 800,
    StreamCaptureUnsupported = 900,
    StreamCaptureInvalidated = 901,
    StreamCaptureUnmatched = 903,
    StreamCaptureUnjoined = 904,
    CapturedEvent = 907,
    StreamCaptureWrongThread = 908,
};

struct Fault {
    Status status = Success;
    std::string text;
};

// The first fault of a launch wins; later ones are consequences.
class FaultSlot {
public:
    bool raised() const { return raised_.load(std::memory_order_relaxed); }
    void set(Status status, std::string text) {
        std::lock_guard lock(mutex_);
        if (raised_) return;
        fault_ = {status, std::move(text)};
        raised_ = true;
    }
    Fault get() {
        std::lock_guard lock(mutex_);
        return fault_;
    }
    void clear() {
        std::lock_guard lock(mutex_);
        fault_ = {};
        raised_ = false;
    }

private:
    std::mutex mutex_;
    std::atomic<bool> raised_{false};
    Fault fault_;
};

// printf into a string.
std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));

// "rmsnorm.cu:41" for an address inside a kernel's module, "" when the toolchain cannot tell.
std::string sourceLine(const void* returnAddress);

// The error text of the last failed call of this thread (softGetLastErrorText).
void setLastErrorText(const std::string& text);
const std::string& lastErrorText();

}  // namespace soft
