// Races between streams: two pieces of work that no event, stream or wait of the host orders may not meet in a byte that one writes.
#include "tests/api.h"

namespace {

void *first, *second, *twice, *copy;
uintptr_t x, y;

void begin() {
    useDevice(1);
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

}  // namespace

int main() {
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
