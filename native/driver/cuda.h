// The driver's own types. Handles are pointers to these objects; a handle that is not in the registry of its kind is
// refused, so a destroyed or invented handle is an error and never a crash.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "device/launch.h"
#include "driver/hazards.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace soft {

struct Context;
struct Stream;

template <class T>
class Registry {
public:
    std::shared_ptr<T> add(std::shared_ptr<T> item) {
        std::lock_guard lock(mutex_);
        items_[item.get()] = item;
        return item;
    }
    std::shared_ptr<T> find(const void* handle) {
        std::lock_guard lock(mutex_);
        auto found = items_.find(handle);
        return found == items_.end() ? nullptr : found->second;
    }
    std::shared_ptr<T> take(const void* handle) {
        std::lock_guard lock(mutex_);
        auto found = items_.find(handle);
        if (found == items_.end()) return nullptr;
        auto item = found->second;
        items_.erase(found);
        return item;
    }
    std::vector<std::shared_ptr<T>> of(const Context* context) {
        std::lock_guard lock(mutex_);
        std::vector<std::shared_ptr<T>> found;
        for (auto& [handle, item] : items_)
            if (item->context == context) found.push_back(item);
        return found;
    }

private:
    std::mutex mutex_;
    std::unordered_map<const void*, std::shared_ptr<T>> items_;
};

using Work = std::function<void()>;

// A piece of a graph and the nodes that it comes right after.
struct Node {
    Work work;
    std::set<size_t> after;
};

// A graph being recorded; streams that joined it append to it. Capture order is a valid execution order; the edges are what orders nodes.
struct Capture {
    std::vector<Node> nodes;
    Stream* origin;
    std::thread::id owner;
    bool invalid = false;
    // What the next node of each stream comes after.
    std::map<const Stream*, std::set<size_t>> tips;
};

// One queue and one thread; work runs in order. Work of different streams runs at the same time.
struct Stream {
    Stream(Context* owner, bool blocksOnLegacy);
    ~Stream();
    // Queues work and returns its number.
    uint64_t submit(Work work);
    void waitFor(uint64_t number);
    // Waits for everything submitted so far, on behalf of the program.
    void synchronize();
    uint64_t submitted();
    bool idle();
    // Somebody waits for the work up to this number: late copies before it land now.
    void demand(uint64_t number);
    // From the stream's own thread: returns when somebody waits for the work that runs now.
    void untilDemanded();

    Context* const context;
    const uint64_t id;
    const bool blocking;
    std::shared_ptr<Capture> capture;

private:
    void serve();

    std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::deque<Work> queue_;
    uint64_t submitted_ = 0, finished_ = 0, demanded_ = 0;
    bool stop_ = false;
    std::thread thread_;
};

struct Event {
    Context* context = nullptr;
    bool timing = true;
    std::mutex mutex;
    std::condition_variable reached;
    uint64_t recorded = 0, completed = 0;
    double seconds = 0;
    Clock clock;  // of the stream, when it was last recorded
    bool inCapture = false;  // it was last recorded in a capture, so it is of that graph only
    std::weak_ptr<Capture> capture;
    std::set<size_t> captured;  // the nodes that it was recorded behind
    // Where the last record stands, for those who wait.
    std::weak_ptr<Stream> source;
    uint64_t sourceNumber = 0;
};

struct Function;

struct Module {
    Context* context = nullptr;
    void* image = nullptr;
    int file = -1;
    std::unordered_map<std::string, std::shared_ptr<Function>> functions;
    ~Module();
};

constexpr int StaticBytesMost = static_cast<int>(SharedMemory::StaticMost);
constexpr int DynamicBytesOptIn = 166912;  // 163 KiB, as on compute capability 8.0

struct Function {
    Context* context = nullptr;
    KernelCode code;
    std::vector<uint32_t> parameterBytes;
    int dynamicBytesMost = StaticBytesMost;
    int sharedBytesMost = StaticBytesMost;  // with the arrays; a program that names a number of dynamic bytes opts in to more
    unsigned threadsMost = 1024;  // the kernel's launch bound
};

struct Graph {
    Context* context = nullptr;
    std::vector<Node> nodes;
    // Of each node, those captured before it that no path of edges leads from: the two may run at once.
    std::vector<std::vector<size_t>> beside;
};

struct Context {
    explicit Context(int device_) : device(device_) {}
    const int device;
    int references = 0;
    FaultSlot faults;
    std::shared_ptr<Stream> legacy;
    DeviceMemory& memory() const { return deviceMemory(device); }
};

Context& primaryContext(int device);
Context* currentContext();
Registry<Stream>& streams();
Registry<Event>& events();
Registry<Module>& modules();
Registry<Function>& functions();
Registry<Graph>& graphs();

constexpr int Multiprocessors = 2;

// A failure with its text; the text is what softGetLastErrorText gives.
int fail(Status status, const std::string& text);
// Success or the fault that the context already has.
int sticky(Context& context);
// The usual head of an entry point: a current context without a fault, or the status to return.
int enter(Context*& context);
// True on a stream's thread while it runs a function of cuLaunchHostFunc.
bool& inHostFunction();
// As enter, and not while this thread captures: what a graph cannot hold.
int enterOutsideCapture(Context*& context, const char* call);
// The head of an entry point that takes a stream: as enter, then the stream behind the handle (null: the legacy stream). Null with the
// status to return.
std::shared_ptr<Stream> enterStream(void* handle, Context*& context, int& status);
// Runs work in stream order, or records it when the stream captures. Work is skipped once the context has a fault.
int enqueue(Stream& stream, Work work);
int synchronize(Context& context);
// Counts a call of the host that a trace shows; `blocks` when the host may wait in it, or asks instead of waiting.
void trace(const char* call, bool blocks = false);

}  // namespace soft
