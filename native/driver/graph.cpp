// Graphs: the recorded work in capture order, replayed as one piece of a stream's work.
#include "driver/cuda.h"

using namespace soft;

EXPORT int cuGraphInstantiateWithFlags(void** executable, void* handle, unsigned long long) {
    Context* context;
    if (int status = enter(context)) return status;
    auto graph = graphs().find(handle);
    if (!graph) return fail(InvalidHandle, "cuGraphInstantiate: not a graph, or one that was destroyed");
    *executable = graphs().add(std::make_shared<Graph>(*graph)).get();
    return Success;
}

EXPORT int cuGraphLaunch(void* handle, void* streamHandle) {
    Context* context;
    if (int status = enter(context)) return status;
    auto graph = graphs().find(handle);
    if (!graph) return fail(InvalidHandle, "cuGraphLaunch: not an executable graph, or one that was destroyed");
    int status;
    auto stream = streamOf(*context, streamHandle, status);
    if (!stream) return status;
    trace("cuGraphLaunch");
    return enqueue(*stream, [graph] {
        for (const Work& node : graph->nodes) node();
    });
}

EXPORT int cuGraphGetNodes(void* handle, void**, size_t* count) {
    auto graph = graphs().find(handle);
    if (!graph) return fail(InvalidHandle, "cuGraphGetNodes: not a graph, or one that was destroyed");
    *count = graph->nodes.size();
    return Success;
}

EXPORT int cuGraphUpload(void* handle, void*) {
    return graphs().find(handle) ? int(Success) : fail(InvalidHandle, "cuGraphUpload: not an executable graph");
}

EXPORT int cuGraphDestroy(void* handle) {
    return graphs().take(handle) ? int(Success) : fail(InvalidHandle, "cuGraphDestroy: not a graph, or one that was destroyed");
}

EXPORT int cuGraphExecDestroy(void* handle) {
    return graphs().take(handle) ? int(Success)
                                 : fail(InvalidHandle, "cuGraphExecDestroy: not an executable graph, or one that was destroyed");
}
