// Streams, events and graphs: work of one stream in order, of two streams at once, an event between them, a graph that replays.
#include <atomic>
#include <chrono>
#include <thread>

#include "tests/api.h"

namespace {

std::atomic<int> turn{0};

void waitForTurn(void* wanted) {
    while (turn != static_cast<int>(reinterpret_cast<intptr_t>(wanted))) std::this_thread::yield();
}
void nextTurn(void*) { turn++; }
void callsCuda(void* status) { *static_cast<int*>(status) = cuStreamSynchronize(nullptr); }

}  // namespace

int main() {
    useDevice(0);
    void *first, *second, *reached, *module;
    CHECK(cuStreamCreate(&first, 1) == 0 && cuStreamCreate(&second, 1) == 0 && cuEventCreate(&reached, 2) == 0);

    // The first stream cannot go on before the second has run: they must run at the same time.
    CHECK(cuLaunchHostFunc(first, waitForTurn, reinterpret_cast<void*>(1)) == 0);
    CHECK(cuLaunchHostFunc(second, nextTurn, nullptr) == 0);
    CHECK(cuStreamSynchronize(first) == 0 && turn == 1);

    // An event holds the second stream until the first has written.
    void* add = compileKernel("extern \"C\" __global__ void add(int* x, int n) { x[threadIdx.x] = x[threadIdx.x] * 2 + n; }", "add", &module);
    const uintptr_t x = upload(std::vector<int>(32, 1));
    for (int round = 0; round < 50; round++) {
        CHECK(cuMemsetD8Async(x, 0, 32 * sizeof(int), first) == 0);
        CHECK(launch(add, 1, 32, 0, first, x, 3) == 0);
        CHECK(cuEventRecord(reached, first) == 0 && cuStreamWaitEvent(second, reached, 0) == 0);
        CHECK(launch(add, 1, 32, 0, second, x, 5) == 0);
        CHECK(cuStreamSynchronize(second) == 0);
        for (int value : download<int>(x, 32)) CHECK(value == 11);
    }

    // Three replays of x = 2*x + 1 on what the last one left.
    void *graph, *executable;
    CHECK(cuStreamBeginCapture_v2(first, 1) == 0);
    CHECK(launch(add, 1, 32, 0, first, x, 1) == 0);
    CHECK(cuStreamSynchronize(first) != 0);  // not while it captures, and it spoils the capture
    CHECK(cuStreamEndCapture(first, &graph) != 0);
    CHECK(cuStreamBeginCapture_v2(first, 1) == 0);
    CHECK(launch(add, 1, 32, 0, first, x, 1) == 0);
    CHECK(cuStreamEndCapture(first, &graph) == 0 && cuGraphInstantiateWithFlags(&executable, graph, 0) == 0);
    for (int round = 0; round < 3; round++) CHECK(cuGraphLaunch(executable, first) == 0);
    CHECK(cuStreamSynchronize(first) == 0);
    for (int value : download<int>(x, 32)) CHECK(value == 8 * 11 + 7);

    // What a card refuses: an event of a graph asked for its time, questions to a stream that captures, CUDA from a host function, page-locked
    // memory that shares a page, more threads than a kernel has registers for.
    void* refused;
    constexpr int NotPermitted = 800, Unsupported = 900, Captured = 907, OutOfResources = 701, AlreadyRegistered = 712;
    CHECK(cuStreamBeginCapture_v2(first, 1) == 0 && cuEventRecord(reached, first) == 0);
    CHECK(cuEventQuery(reached) == Captured && cuEventSynchronize(reached) == Captured);
    CHECK(cuStreamEndCapture(first, &refused) == 0 && cuStreamWaitEvent(second, reached, 0) == Captured && cuGraphDestroy(refused) == 0);
    CHECK(cuEventRecord(reached, first) == 0 && cuEventSynchronize(reached) == 0);
    CHECK(cuStreamBeginCapture_v2(first, 1) == 0 && cuStreamQuery(first) == Unsupported && cuStreamEndCapture(first, &refused) != 0);
    CHECK(cuStreamBeginCapture_v2(first, 1) == 0 && cuEventQuery(reached) == Unsupported && cuStreamEndCapture(first, &refused) != 0);
    CHECK(cuStreamBeginCapture_v2(first, 1) == 0 && cuStreamSynchronize(second) == Unsupported && cuStreamEndCapture(first, &refused) != 0);
    void* locked;
    CHECK(cuStreamBeginCapture_v2(first, 1) == 0 && cuMemHostAlloc(&locked, 64, 0) == Unsupported && cuStreamEndCapture(first, &refused) != 0);
    int status = 0;
    CHECK(cuLaunchHostFunc(first, callsCuda, &status) == 0 && cuStreamSynchronize(first) == 0 && status == NotPermitted);
    alignas(4096) static char pages[8192];
    CHECK(cuMemHostRegister_v2(pages, 100, 0) == 0 && cuMemHostRegister_v2(pages + 200, 100, 0) == AlreadyRegistered);
    CHECK(cuMemHostRegister_v2(pages + 4096, 100, 0) == 0 && cuMemHostUnregister(pages) == 0 && cuMemHostUnregister(pages + 4096) == 0);
    void* small;
    void* bounded = compileKernel("constexpr int N = 2 * (16 + 16); extern \"C\" __global__ void __launch_bounds__(N, 2) few(int* x) { x[threadIdx.x / 2] = 1; }", "few", &small);
    CHECK(launch(bounded, 1, 96, 0, first, x) == OutOfResources && launch(bounded, 1, 1, 0, first, x) == 0);
    CHECK(cuStreamSynchronize(first) == 0 && cuModuleUnload(small) == 0);

    CHECK(cuGraphExecDestroy(executable) == 0 && cuGraphDestroy(graph) == 0 && cuEventDestroy_v2(reached) == 0);
    CHECK(cuStreamDestroy_v2(first) == 0 && cuStreamDestroy_v2(second) == 0 && cuStreamDestroy_v2(first) != 0);
    // What was destroyed is refused by name.
    CHECK(launch(add, 1, 32, 0, first, x, 1) == 400 && cuEventRecord(reached, nullptr) == 400 && cuGraphLaunch(executable, nullptr) == 400);
    CHECK_TEXT(softGetLastErrorText(), "cuGraphLaunch: not an executable graph, or one that was destroyed");
    CHECK(cuStreamSynchronize(first) == 400);
    CHECK_TEXT(softGetLastErrorText(), "is not a stream, or one that was destroyed");
    CHECK(cuMemFree_v2(x) == 0 && cuModuleUnload(module) == 0 && cuDevicePrimaryCtxRelease_v2(0) == 0);
    return 0;
}
