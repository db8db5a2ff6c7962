// The entry points of NCCL that the bindings use, among the software devices of one process. Every operation is a piece of work on its
// stream: a collective waits until all ranks have come to the same one, then the last to come computes it for all, in the order of
// the ranks, so the bits never depend on timing. A send waits for its receive, as on a card; sends and receives of one group run
// together. Strict where NCCL is not: ranks that disagree about an operation, and ranges outside an allocation, are faults with a text.
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <vector>

#include "device/fault.h"
#include "nccl/reduce.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

using soft::Fault;
using soft::format;

EXPORT int softEnqueue(void* stream, std::function<Fault()> work);
EXPORT Fault softCheckRange(int device, uintptr_t address, size_t bytes, bool write, const char* what);
EXPORT void softMarkWritten(uintptr_t address, size_t bytes);
EXPORT int softCurrentDevice();
EXPORT const char* softGetLastErrorText();

namespace {

enum Result { Ok = 0, UnhandledCuda = 1, System = 2, Internal = 3, InvalidArgument = 4, InvalidUsage = 5 };

struct UniqueId {
    char bytes[128];
};

thread_local std::string lastError;

int fail(Result result, const std::string& text) {
    lastError = text;
    return result;
}

// What one rank brings to a collective.
struct Call {
    const char* name = nullptr;
    const void* source = nullptr;
    void* destination = nullptr;
    size_t count = 0;
    soft::NumberType type = soft::NumberType::Float32;
    int operation = 0, root = 0;

    bool agreesWith(const Call& o) const {
        return !strcmp(name, o.name) && count == o.count && type == o.type && operation == o.operation && root == o.root;
    }
    std::string text() const { return format("%s of %zu elements of type %d, operation %d, root %d", name, count, int(type), operation, root); }
};

// One meeting of all ranks; it is forgotten when the last has left.
struct Meeting {
    std::vector<Call> calls;
    int come = 0, left = 0;
    bool done = false;
    Fault fault;
};

struct Parcel {
    const void* source;
    size_t bytes;
    bool taken = false;
};

struct Group {
    explicit Group(int count) : ranks(count), devices(static_cast<size_t>(count), -1) {}
    const int ranks;
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<int> devices;
    int joined = 0;
    bool aborted = false;
    std::string refused;
    std::map<uint64_t, Meeting> meetings;
    std::map<std::pair<int, int>, std::deque<Parcel*>> parcels;  // from, to
};

struct Communicator {
    std::shared_ptr<Group> group;
    int rank;
    // Of the next collective; counted when it runs, so that a graph's replays count on.
    std::shared_ptr<std::atomic<uint64_t>> next = std::make_shared<std::atomic<uint64_t>>(0);
};

std::mutex groupsMutex;
std::map<std::string, std::shared_ptr<Group>>& groups() {
    static auto* all = new std::map<std::string, std::shared_ptr<Group>>;
    return *all;
}
std::set<Communicator*>& communicators() {
    static auto* all = new std::set<Communicator*>;
    return *all;
}

Communicator* find(void* handle) {
    std::lock_guard lock(groupsMutex);
    auto* c = static_cast<Communicator*>(handle);
    return communicators().count(c) ? c : nullptr;
}

Fault aborted(const char* name) { return {soft::LaunchFailed, format("%s: the communicator was aborted", name)}; }

void compute(const Group& group, Meeting& meeting) {
    const std::vector<Call>& calls = meeting.calls;
    const Call& first = calls[0];
    for (size_t r = 1; r < calls.size(); r++) {
        if (calls[r].agreesWith(first)) continue;
        meeting.fault = {soft::LaunchFailed, format("NCCL ranks disagree: rank 0 calls %s, rank %zu calls %s", first.text().c_str(), r,
                                                    calls[r].text().c_str())};
        return;
    }
    const size_t bytes = first.count * soft::bytesOf(first.type), all = calls.size();
    const bool scatters = !strcmp(first.name, "ncclReduceScatter"), gathers = !strcmp(first.name, "ncclAllGather");
    const bool broadcasts = !strcmp(first.name, "ncclBroadcast");
    for (size_t r = 0; r < all && !meeting.fault.status; r++) {
        const bool reads = !broadcasts || int(r) == first.root;
        if (reads) meeting.fault = softCheckRange(group.devices[r], reinterpret_cast<uintptr_t>(calls[r].source), scatters ? bytes * all : bytes, false, first.name);
        if (!meeting.fault.status)
            meeting.fault = softCheckRange(group.devices[r], reinterpret_cast<uintptr_t>(calls[r].destination), gathers ? bytes * all : bytes, true, first.name);
    }
    if (meeting.fault.status) return;

    // Sources may be destinations, so everything is computed before anything is written.
    std::vector<uint8_t> result(bytes * (scatters || gathers ? all : 1));
    if (broadcasts) memcpy(result.data(), calls[static_cast<size_t>(first.root)].source, bytes);
    else if (gathers)
        for (size_t r = 0; r < all; r++) memcpy(result.data() + r * bytes, calls[r].source, bytes);
    else {
        std::vector<const void*> sources;
        for (const Call& call : calls) sources.push_back(call.source);
        soft::reduce(result.data(), sources, first.count * (scatters ? all : 1), first.type, static_cast<soft::Reduction>(first.operation));
    }
    for (size_t r = 0; r < all; r++) {
        const size_t size = scatters ? bytes : result.size();
        memcpy(calls[r].destination, result.data() + (scatters ? r * bytes : 0), size);
        softMarkWritten(reinterpret_cast<uintptr_t>(calls[r].destination), size);
    }
}

Fault meet(Group& group, int rank, uint64_t number, const Call& call) {
    std::unique_lock lock(group.mutex);
    Meeting& meeting = group.meetings[number];
    meeting.calls.resize(static_cast<size_t>(group.ranks));
    meeting.calls[static_cast<size_t>(rank)] = call;
    if (++meeting.come == group.ranks) {
        compute(group, meeting);
        meeting.done = true;
        group.changed.notify_all();
    }
    group.changed.wait(lock, [&] { return meeting.done || group.aborted; });
    const Fault fault = meeting.done ? meeting.fault : aborted(call.name);
    if (++meeting.left == group.ranks) group.meetings.erase(number);
    return fault;
}

struct Transfer {
    bool sends;
    void* buffer;
    size_t bytes;
    int peer;
};

Fault exchange(Group& group, int rank, std::vector<Transfer> transfers) {
    const int device = group.devices[static_cast<size_t>(rank)];
    std::deque<Parcel> sent;
    std::unique_lock lock(group.mutex);
    for (const Transfer& t : transfers) {
        const Fault fault = softCheckRange(device, reinterpret_cast<uintptr_t>(t.buffer), t.bytes, !t.sends, t.sends ? "ncclSend" : "ncclRecv");
        if (fault.status) return fault;
        if (!t.sends) continue;
        sent.push_back({t.buffer, t.bytes});
        group.parcels[{rank, t.peer}].push_back(&sent.back());
    }
    group.changed.notify_all();
    for (const Transfer& t : transfers) {
        if (t.sends) continue;
        auto& waiting = group.parcels[{t.peer, rank}];
        group.changed.wait(lock, [&] { return !waiting.empty() || group.aborted; });
        if (group.aborted) return aborted("ncclRecv");
        Parcel* parcel = waiting.front();
        waiting.pop_front();
        parcel->taken = true;
        group.changed.notify_all();
        if (parcel->bytes != t.bytes)
            return {soft::LaunchFailed, format("ncclRecv of rank %d expects %zu bytes from rank %d, which sends %zu", rank, t.bytes, t.peer, parcel->bytes)};
        memcpy(t.buffer, parcel->source, t.bytes);
        softMarkWritten(reinterpret_cast<uintptr_t>(t.buffer), t.bytes);
    }
    group.changed.wait(lock, [&] {
        for (const Parcel& p : sent)
            if (!p.taken) return group.aborted;
        return true;
    });
    for (const Parcel& p : sent)
        if (!p.taken) return aborted("ncclSend");
    return {};
}

// Between ncclGroupStart and ncclGroupEnd of one thread: what was asked for, per communicator and stream.
struct Pending {
    std::map<std::pair<Communicator*, void*>, std::vector<Transfer>> transfers;
    std::vector<std::function<int()>> others;
};
thread_local int groupDepth = 0;
thread_local Pending pending;

int enqueue(void* stream, std::function<Fault()> work) {
    return softEnqueue(stream, std::move(work)) ? fail(UnhandledCuda, softGetLastErrorText()) : int(Ok);
}

int launchTransfers(Communicator* c, void* stream, std::vector<Transfer> transfers) {
    return enqueue(stream, [group = c->group, rank = c->rank, transfers = std::move(transfers)] { return exchange(*group, rank, transfers); });
}

int transfer(void* handle, void* stream, bool sends, void* buffer, size_t count, int type, int peer, const char* name) {
    Communicator* c = find(handle);
    if (!c) return fail(InvalidArgument, format("%s: not a communicator, or one that was destroyed", name));
    if (peer < 0 || peer >= c->group->ranks) return fail(InvalidArgument, format("%s: rank %d of %d", name, peer, c->group->ranks));
    if (!soft::known(type)) return fail(InvalidArgument, format("%s: data type %d is not one of this look-alike", name, type));
    const Transfer t{sends, buffer, count * soft::bytesOf(static_cast<soft::NumberType>(type)), peer};
    if (!groupDepth) return launchTransfers(c, stream, {t});
    pending.transfers[{c, stream}].push_back(t);
    return Ok;
}

int collective(void* handle, void* stream, Call call, int type) {
    Communicator* c = find(handle);
    if (!c) return fail(InvalidArgument, format("%s: not a communicator, or one that was destroyed", call.name));
    if (!soft::known(type)) return fail(InvalidArgument, format("%s: data type %d is not one of this look-alike", call.name, type));
    if (call.operation < 0 || call.operation > 4) return fail(InvalidArgument, format("%s: operation %d", call.name, call.operation));
    if (call.root < 0 || call.root >= c->group->ranks) return fail(InvalidArgument, format("%s: root %d of %d", call.name, call.root, c->group->ranks));
    call.type = static_cast<soft::NumberType>(type);
    auto launch = [c, stream, call] {
        return enqueue(stream, [group = c->group, rank = c->rank, next = c->next, call] { return meet(*group, rank, (*next)++, call); });
    };
    if (!groupDepth) return launch();
    pending.others.push_back(launch);
    return Ok;
}

}  // namespace

EXPORT int ncclGetVersion(int* version) {
    *version = 22105;
    return Ok;
}

EXPORT const char* ncclGetErrorString(int result) {
    switch (result) {
        case Ok: return "no error";
        case UnhandledCuda: return "unhandled cuda error";
        case System: return "unhandled system error";
        case Internal: return "internal error";
        case InvalidArgument: return "invalid argument";
        case InvalidUsage: return "invalid usage";
        default: return "unknown result code";
    }
}

EXPORT const char* ncclGetLastError(void*) { return lastError.c_str(); }

EXPORT int ncclGetUniqueId(UniqueId* id) {
    static std::mutex mutex;
    static std::mt19937_64 random{std::random_device{}()};
    std::lock_guard lock(mutex);
    for (size_t i = 0; i < sizeof id->bytes; i += 8) {
        const uint64_t word = random();
        memcpy(id->bytes + i, &word, 8);
    }
    return Ok;
}

EXPORT int ncclCommInitRank(void** handle, int ranks, UniqueId id, int rank) {
    if (ranks < 1 || rank < 0 || rank >= ranks) return fail(InvalidArgument, format("ncclCommInitRank: rank %d of %d", rank, ranks));
    const int device = softCurrentDevice();
    if (device < 0) return fail(InvalidUsage, "ncclCommInitRank: this thread has no current context");
    std::shared_ptr<Group> group;
    {
        std::lock_guard lock(groupsMutex);
        auto& slot = groups()[std::string(id.bytes, sizeof id.bytes)];
        if (!slot) slot = std::make_shared<Group>(ranks);
        group = slot;
    }
    std::unique_lock lock(group->mutex);
    if (group->ranks != ranks) return fail(InvalidUsage, format("ncclCommInitRank: %d ranks, another of them says %d", ranks, group->ranks));
    for (int other : group->devices)
        if (other == device) group->refused = format("ncclCommInitRank: duplicate GPU, two ranks on device %d", device);
    if (group->devices[static_cast<size_t>(rank)] >= 0) group->refused = format("ncclCommInitRank: two ranks call themselves %d", rank);
    if (group->refused.empty()) {
        group->devices[static_cast<size_t>(rank)] = device;
        group->joined++;
    }
    group->changed.notify_all();
    group->changed.wait(lock, [&] { return group->joined == ranks || !group->refused.empty(); });
    if (!group->refused.empty()) return fail(InvalidUsage, group->refused);
    lock.unlock();
    std::lock_guard all(groupsMutex);
    groups().erase(std::string(id.bytes, sizeof id.bytes));
    *handle = *communicators().insert(new Communicator{group, rank}).first;
    return Ok;
}

EXPORT int ncclCommDestroy(void* handle) {
    std::lock_guard lock(groupsMutex);
    auto* c = static_cast<Communicator*>(handle);
    if (!communicators().erase(c)) return fail(InvalidArgument, "ncclCommDestroy: not a communicator, or one that was destroyed");
    delete c;
    return Ok;
}

EXPORT int ncclCommAbort(void* handle) {
    Communicator* c = find(handle);
    if (!c) return fail(InvalidArgument, "ncclCommAbort: not a communicator, or one that was destroyed");
    {
        std::lock_guard lock(c->group->mutex);
        c->group->aborted = true;
        c->group->changed.notify_all();
    }
    return ncclCommDestroy(handle);
}

EXPORT int ncclCommGetAsyncError(void* handle, int* result) {
    Communicator* c = find(handle);
    if (!c) return fail(InvalidArgument, "ncclCommGetAsyncError: not a communicator");
    std::lock_guard lock(c->group->mutex);
    *result = c->group->aborted ? System : Ok;
    return Ok;
}

EXPORT int ncclAllReduce(const void* source, void* destination, size_t count, int type, int operation, void* comm, void* stream) {
    return collective(comm, stream, {.name = "ncclAllReduce", .source = source, .destination = destination, .count = count, .operation = operation}, type);
}
EXPORT int ncclReduceScatter(const void* source, void* destination, size_t count, int type, int operation, void* comm, void* stream) {
    return collective(comm, stream, {.name = "ncclReduceScatter", .source = source, .destination = destination, .count = count, .operation = operation}, type);
}
EXPORT int ncclAllGather(const void* source, void* destination, size_t count, int type, void* comm, void* stream) {
    return collective(comm, stream, {.name = "ncclAllGather", .source = source, .destination = destination, .count = count}, type);
}
EXPORT int ncclBroadcast(const void* source, void* destination, size_t count, int type, int root, void* comm, void* stream) {
    return collective(comm, stream, {.name = "ncclBroadcast", .source = source, .destination = destination, .count = count, .root = root}, type);
}
EXPORT int ncclSend(const void* source, size_t count, int type, int peer, void* comm, void* stream) {
    return transfer(comm, stream, true, const_cast<void*>(source), count, type, peer, "ncclSend");
}
EXPORT int ncclRecv(void* destination, size_t count, int type, int peer, void* comm, void* stream) {
    return transfer(comm, stream, false, destination, count, type, peer, "ncclRecv");
}

EXPORT int ncclGroupStart() {
    groupDepth++;
    return Ok;
}

EXPORT int ncclGroupEnd() {
    if (!groupDepth) return fail(InvalidUsage, "ncclGroupEnd without ncclGroupStart");
    if (--groupDepth) return Ok;
    const Pending asked = std::move(pending);
    pending = {};
    int result = Ok;
    for (const auto& [at, transfers] : asked.transfers)
        if (const int status = launchTransfers(at.first, at.second, transfers)) result = status;
    for (const auto& launch : asked.others)
        if (const int status = launch()) result = status;
    return result;
}
