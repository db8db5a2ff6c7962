// Graphs: the recorded work in capture order, replayed as one piece of a stream's work. A card may run nodes that no path of edges orders in
// any order or at once, so such nodes may not meet in a byte that one of them writes.
#include "driver/cuda.h"

using namespace soft;

namespace {

std::vector<std::vector<size_t>> unordered(const std::vector<Node>& nodes) {
    std::vector<std::vector<bool>> before(nodes.size());
    std::vector<std::vector<size_t>> beside(nodes.size());
    for (size_t i = 0; i < nodes.size(); i++) {
        before[i].resize(i);
        for (size_t direct : nodes[i].after) {
            before[i][direct] = true;
            for (size_t j = 0; j < direct; j++)
                if (before[direct][j]) before[i][j] = true;
        }
        for (size_t j = 0; j < i; j++)
            if (!before[i][j]) beside[i].push_back(j);
    }
    return beside;
}

}  // namespace

EXPORT int cuGraphInstantiateWithFlags(void** executable, void* handle, unsigned long long) {
    Context* context;
    if (int status = enter(context)) return status;
    auto graph = graphs().find(handle);
    if (!graph) return fail(InvalidHandle, "cuGraphInstantiate: not a graph, or one that was destroyed");
    auto made = std::make_shared<Graph>(*graph);
    made->beside = unordered(made->nodes);
    *executable = graphs().add(made).get();
    return Success;
}

EXPORT int cuGraphLaunch(void* handle, void* streamHandle) {
    Context* context;
    int status;
    auto stream = enterStream(streamHandle, context, status);
    if (!stream) return status;
    auto graph = graphs().find(handle);
    if (!graph) return fail(InvalidHandle, "cuGraphLaunch: not an executable graph, or one that was destroyed");
    trace("cuGraphLaunch");
    if (graph->beside.size() != graph->nodes.size()) return fail(InvalidHandle, "cuGraphLaunch: a graph that was not instantiated");
    return enqueue(*stream, [graph, context] {
        for (size_t i = 0; i < graph->nodes.size() && !context->faults.raised(); i++) {
            beginNode(i);
            graph->nodes[i].work();
            const Fault fault = endNode(graph->beside[i]);
            if (fault.status) context->faults.set(fault.status, fault.text);
        }
    });
}

EXPORT int cuGraphGetNodes(void* handle, void**, size_t* count) {
    auto graph = graphs().find(handle);
    if (!graph) return fail(InvalidHandle, "cuGraphGetNodes: not a graph, or one that was destroyed");
    *count = graph->nodes.size();
    return Success;
}

EXPORT int cuGraphDestroy(void* handle) {
    return graphs().take(handle) ? int(Success) : fail(InvalidHandle, "cuGraphDestroy: not a graph, or one that was destroyed");
}

EXPORT int cuGraphExecDestroy(void* handle) {
    return graphs().take(handle) ? int(Success)
                                 : fail(InvalidHandle, "cuGraphExecDestroy: not an executable graph, or one that was destroyed");
}
