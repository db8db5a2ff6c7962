// Races between streams and in graphs: two pieces of work that no event, stream, edge or wait of the host orders may not meet in a byte that
// one writes.
#include "tests/api.h"

namespace {

constexpr size_t HostBytes = 256;
void *first, *second, *twice, *copy, *host;
uintptr_t x, y;

// A context of its own for every case: what it has ends with it.
void begin() {
    useDevice(1);
    CHECK(cuMemHostAlloc(&host, HostBytes, 0) == 0);
    memset(host, 0, HostBytes);
    CHECK(cuStreamCreate(&first, 1) == 0 && cuStreamCreate(&second, 1) == 0);
    twice = compileKernel("extern \"C\" __global__ void twice(int* x) { x[threadIdx.x] *= 2; }", "twice");
    copy = compileKernel("extern \"C\" __global__ void copy(int* to, const int* x) { to[threadIdx.x] = x[threadIdx.x]; }", "copy");
    x = upload(std::vector<int>(64, 1));
    y = upload(std::vector<int>(64, 1));
}

void mustBe(bool race, const char* names) {
    CHECK((cuCtxSynchronize() != 0) == race);
    if (race) CHECK_TEXT(softGetLastErrorText(), "race between streams: ");
    if (race) CHECK_TEXT(softGetLastErrorText(), names);
    CHECK(cuDevicePrimaryCtxReset_v2(1) == 0);
}

// A graph of first and second: x *= 2, then on the other stream y = x, then the copy of y to the host on the first. `forked` and `joined` say
// which of the two waits are there.
void* forkAndJoin(bool forked, bool joined) {
    void *graph, *executable, *computed, *copied;
    CHECK(cuEventCreate(&computed, 2) == 0 && cuEventCreate(&copied, 2) == 0);
    CHECK(cuStreamBeginCapture_v2(first, 1) == 0);
    if (!forked) CHECK(cuEventRecord(computed, first) == 0 && cuStreamWaitEvent(second, computed, 0) == 0);
    CHECK(launch(twice, 1, 32, 0, first, x) == 0);
    if (forked) CHECK(cuEventRecord(computed, first) == 0 && cuStreamWaitEvent(second, computed, 0) == 0);
    CHECK(launch(copy, 1, 32, 0, second, y, x) == 0 && cuEventRecord(copied, second) == 0);
    if (joined) CHECK(cuStreamWaitEvent(first, copied, 0) == 0);
    CHECK(cuMemcpyDtoHAsync_v2(host, y, 128, first) == 0);
    if (!joined) CHECK(cuStreamWaitEvent(first, copied, 0) == 0);
    CHECK(cuStreamEndCapture(first, &graph) == 0 && cuGraphInstantiateWithFlags(&executable, graph, 0) == 0);
    CHECK(cuStreamWaitEvent(second, copied, 0) == 907);  // it stands in the graph
    return executable;
}

void graphs() {
    begin();
    CHECK(cuGraphLaunch(forkAndJoin(true, true), first) == 0);
    mustBe(false, "");

    // The fork waits for too little, the join comes too late.
    begin();
    (void)cuGraphLaunch(forkAndJoin(false, true), first);
    CHECK(cuCtxSynchronize() != 0);
    CHECK_TEXT(softGetLastErrorText(), "race in a graph: kernel copy (node 1) reads byte 0 of allocation");
    CHECK_TEXT(softGetLastErrorText(), "which kernel twice (node 0) writes, and no edge orders the two");
    CHECK(cuDevicePrimaryCtxReset_v2(1) == 0);

    begin();
    (void)cuGraphLaunch(forkAndJoin(true, false), first);
    CHECK(cuCtxSynchronize() != 0);
    CHECK_TEXT(softGetLastErrorText(), "race in a graph: cuMemcpyDtoHAsync (node 2) reads byte 0 of allocation");
    CHECK_TEXT(softGetLastErrorText(), "which kernel copy (node 1) writes, and no edge orders the two");
    CHECK(cuDevicePrimaryCtxReset_v2(1) == 0);

    // A node after the event that joins its stream is not joined.
    begin();
    void *graph, *reached;
    CHECK(cuEventCreate(&reached, 2) == 0 && cuStreamBeginCapture_v2(first, 1) == 0);
    CHECK(cuEventRecord(reached, first) == 0 && cuStreamWaitEvent(second, reached, 0) == 0);
    CHECK(launch(twice, 1, 32, 0, second, x) == 0 && cuEventRecord(reached, second) == 0);
    CHECK(launch(twice, 1, 32, 0, second, y) == 0 && cuStreamWaitEvent(first, reached, 0) == 0);
    CHECK(cuStreamEndCapture(first, &graph) == 904);
    CHECK_TEXT(softGetLastErrorText(), "node 1 of the capture stands on another stream");
    mustBe(false, "");
}

// What copies between host and device touch counts as well.
void copies() {
    begin();
    CHECK(launch(twice, 1, 32, 0, first, x) == 0);
    (void)cuMemcpyDtoHAsync_v2(host, x, 128, second);
    mustBe(true, "cuMemcpyDtoHAsync");

    begin();
    CHECK(launch(copy, 1, 32, 0, first, y, x) == 0);
    (void)cuMemcpyHtoDAsync_v2(x, host, 128, second);
    mustBe(true, "cuMemcpyHtoDAsync");

    // Page-locked memory: one copy brings what another sends on.
    begin();
    CHECK(cuMemcpyDtoHAsync_v2(host, x, 128, first) == 0);
    (void)cuMemcpyHtoDAsync_v2(y, host, 128, second);
    mustBe(true, "another stream");
}

}  // namespace

int main() {
    graphs();
    copies();
    // Planted: both write, one writes what the other reads, a fill, a copy to the host, a graph.
    begin();
    CHECK(launch(twice, 1, 32, 0, first, x) == 0);
    (void)launch(twice, 1, 1, 0, second, x + 4 * 31);
    mustBe(true, "byte 124 of allocation");

    begin();
    CHECK(launch(twice, 1, 32, 0, first, x) == 0);
    (void)launch(copy, 1, 32, 0, second, y, x);
    mustBe(true, "kernel copy");

    begin();
    CHECK(launch(copy, 1, 32, 0, first, y, x) == 0);
    (void)cuMemsetD8Async(x, 0, 1, second);
    mustBe(true, "cuMemsetD8Async");

    begin();
    void *graph, *executable;
    CHECK(cuStreamBeginCapture_v2(first, 1) == 0 && launch(copy, 1, 8, 0, first, y, x) == 0 && launch(twice, 1, 8, 0, first, x) == 0);
    CHECK(cuStreamEndCapture(first, &graph) == 0 && cuGraphInstantiateWithFlags(&executable, graph, 0) == 0);
    CHECK(cuGraphLaunch(executable, first) == 0);
    (void)launch(copy, 1, 32, 0, second, y + 128, x);
    mustBe(true, "kernel twice");

    // The event is there, but recorded before the write.
    begin();
    void* reached;
    CHECK(cuEventCreate(&reached, 2) == 0 && cuEventRecord(reached, first) == 0);
    CHECK(launch(twice, 1, 32, 0, first, x) == 0 && cuStreamWaitEvent(second, reached, 0) == 0);
    (void)launch(copy, 1, 32, 0, second, y, x);
    mustBe(true, "no event orders the two");

    // Fine: both read, an event, the host's wait, neighbours in one word.
    begin();
    CHECK(launch(copy, 1, 32, 0, first, y, x) == 0 && launch(copy, 1, 32, 0, second, y + 128, x) == 0);
    CHECK(cuEventCreate(&reached, 2) == 0 && cuEventRecord(reached, first) == 0 && cuStreamWaitEvent(second, reached, 0) == 0);
    CHECK(launch(twice, 1, 32, 0, second, y) == 0 && cuStreamSynchronize(second) == 0);
    CHECK(launch(twice, 1, 32, 0, first, y) == 0);
    CHECK(cuMemsetD8Async(x, 0, 1, first) == 0 && cuMemsetD8Async(x + 1, 0, 1, second) == 0);
    mustBe(false, "");
    return 0;
}
