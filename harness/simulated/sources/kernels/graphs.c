/* CUDA graphs: a capture counts what its streams are given, and a launch does nothing. */
#include "process.h"
#include "streams.h"

#include <stdlib.h>

enum { NOT_CAPTURING, CAPTURING }; /* cudaStreamCaptureStatus */

static uint64_t captures;

EXPORT int cudaStreamBeginCapture(Stream *stream, int mode)
{
    (void)mode;
    READY;
    if (!stream || captured(stream)) return failed(CAPTURE_UNSUPPORTED);
    stream->graph = handle();
    *stream->graph = (Graph){__atomic_add_fetch(&captures, 1, __ATOMIC_RELAXED), 0, 1};
    return SUCCESS;
}

EXPORT int cudaStreamBeginCaptureToGraph(Stream *stream, Graph *graph, const void *dependencies, const void *data,
                                         size_t number, int mode)
{
    (void)dependencies, (void)data, (void)number, (void)mode;
    READY;
    if (!stream || captured(stream)) return failed(CAPTURE_UNSUPPORTED);
    graph->capturing = 1;
    stream->graph = graph;
    return SUCCESS;
}

EXPORT int cudaStreamEndCapture(Stream *stream, Graph **graph)
{
    READY;
    *graph = captured(stream);
    if (!*graph) return failed(INVALID_VALUE);
    (*graph)->capturing = 0;
    return SUCCESS;
}

EXPORT int cudaStreamIsCapturing(Stream *stream, int *status)
{
    READY;
    *status = captured(stream) ? CAPTURING : NOT_CAPTURING;
    return SUCCESS;
}

static int capture_info(Stream *stream, int *status, unsigned long long *id, Graph **graph, void **dependencies, size_t *number)
{
    READY;
    Graph *found = captured(stream);
    *status = found ? CAPTURING : NOT_CAPTURING;
    if (id) *id = found ? found->id : 0;
    if (graph) *graph = found;
    if (dependencies) *dependencies = NULL;
    if (number) *number = 0;
    return SUCCESS;
}

/* CUDA 13's, which CUDA 12 has under the name below. */
EXPORT int cudaStreamGetCaptureInfo(Stream *stream, int *status, unsigned long long *id, Graph **graph, void **dependencies,
                                    void **edges, size_t *number)
{
    if (edges) *edges = NULL;
    return capture_info(stream, status, id, graph, dependencies, number);
}

EXPORT int cudaStreamGetCaptureInfo_v3(Stream *stream, int *status, unsigned long long *id, Graph **graph,
                                       void **dependencies, void **edges, size_t *number)
{
    return cudaStreamGetCaptureInfo(stream, status, id, graph, dependencies, edges, number);
}

EXPORT int cudaStreamGetCaptureInfo_v2(Stream *stream, int *status, unsigned long long *id, Graph **graph,
                                       void **dependencies, size_t *number)
{
    return capture_info(stream, status, id, graph, dependencies, number);
}

EXPORT int cudaThreadExchangeStreamCaptureMode(int *mode)
{
    static __thread int current;
    int before = current;
    current = *mode;
    *mode = before;
    return SUCCESS;
}

EXPORT int cudaGraphCreate(Graph **graph, unsigned flags)
{
    (void)flags;
    READY;
    *graph = handle();
    return SUCCESS;
}

EXPORT int cudaGraphInstantiateWithFlags(void **executable, Graph *graph, unsigned long long flags)
{
    (void)graph, (void)flags;
    READY;
    *executable = handle();
    return SUCCESS;
}

EXPORT int cudaGraphInstantiate(void **executable, Graph *graph, unsigned long long flags)
{
    return cudaGraphInstantiateWithFlags(executable, graph, flags);
}

EXPORT int cudaGraphLaunch(void *executable, Stream *stream)
{
    (void)executable;
    READY;
    enqueue(stream);
    return SUCCESS;
}

EXPORT int cudaGraphGetNodes(Graph *graph, void **nodes, size_t *number)
{
    READY;
    for (size_t i = 0; nodes && i < *number && i < graph->nodes; i++) nodes[i] = graph;
    *number = graph->nodes;
    return SUCCESS;
}

EXPORT int cudaGraphAddNode(Graph **node, Graph *graph, const void *dependencies, const void *edges, size_t number, void *what)
{
    (void)dependencies, (void)edges, (void)number, (void)what;
    READY;
    graph->nodes++;
    *node = graph;
    return SUCCESS;
}

EXPORT int cudaGraphNodeGetDependencies(const void *node, void **dependencies, void *edges, size_t *number)
{
    (void)node, (void)dependencies, (void)edges;
    *number = 0;
    return SUCCESS;
}

EXPORT int cudaGraphConditionalHandleCreate(uint64_t *made, Graph *graph, unsigned value, unsigned flags)
{
    (void)graph, (void)value, (void)flags;
    *made = 1;
    return SUCCESS;
}

EXPORT int cudaGraphDestroy(Graph *graph)
{
    (void)graph; /* streams may still point to it */
    return SUCCESS;
}

EXPORT int cudaGraphExecDestroy(void *executable)
{
    free(executable);
    return SUCCESS;
}
