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

    CHECK(cuGraphExecDestroy(executable) == 0 && cuGraphDestroy(graph) == 0 && cuEventDestroy_v2(reached) == 0);
    CHECK(cuStreamDestroy_v2(first) == 0 && cuStreamDestroy_v2(second) == 0 && cuStreamDestroy_v2(first) != 0);
    CHECK(cuMemFree_v2(x) == 0 && cuModuleUnload(module) == 0 && cuDevicePrimaryCtxRelease_v2(0) == 0);
    return 0;
}
