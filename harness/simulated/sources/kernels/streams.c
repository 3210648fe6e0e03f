/* Streams and events: what they are given is done at once, so nobody ever waits. */
#include "streams.h"
#include "process.h"

#include <stdlib.h>

typedef struct { Graph *graph; } CudaEvent;

/* cudaStreamLegacy and cudaStreamPerThread stand for streams that nobody created. */
enum { NAMED_STREAMS = 2 };
static Stream unnamed;

void pools_settle(void);

void *handle(void)
{
    void *made = calloc(1, 64);
    if (!made) abort();
    return made;
}

static Stream *of(Stream *stream) { return (uintptr_t)stream <= NAMED_STREAMS ? &unnamed : stream; }

Graph *captured(Stream *stream)
{
    Graph *graph = of(stream)->graph;
    return graph && graph->capturing ? graph : NULL;
}

void enqueue(Stream *stream)
{
    Graph *graph = captured(stream);
    if (graph) graph->nodes++;
}

EXPORT int cudaStreamCreateWithPriority(Stream **stream, unsigned flags, int priority)
{
    (void)flags;
    READY;
    *stream = handle();
    **stream = (Stream){priority, current_device(), NULL};
    return SUCCESS;
}

EXPORT int cudaStreamCreate(Stream **stream) { return cudaStreamCreateWithPriority(stream, 0, 0); }
EXPORT int cudaStreamCreateWithFlags(Stream **stream, unsigned flags) { return cudaStreamCreateWithPriority(stream, flags, 0); }

EXPORT int cudaStreamDestroy(Stream *stream)
{
    if ((uintptr_t)stream <= NAMED_STREAMS) return failed(INVALID_HANDLE);
    free(stream);
    return SUCCESS;
}

EXPORT int cudaStreamQuery(Stream *stream)
{
    READY;
    return failed(captured(stream) ? CAPTURE_UNSUPPORTED : SUCCESS);
}

EXPORT int cudaStreamSynchronize(Stream *stream)
{
    READY;
    pools_settle();
    return failed(captured(stream) ? CAPTURE_UNSUPPORTED : SUCCESS);
}

EXPORT int cudaStreamWaitEvent(Stream *stream, CudaEvent *event, unsigned flags)
{
    (void)flags;
    READY;
    /* A stream that waits for a captured one is captured with it. */
    if (event && event->graph && event->graph->capturing && !captured(stream)) of(stream)->graph = event->graph;
    return SUCCESS;
}

EXPORT int cudaStreamGetPriority(Stream *stream, int *priority)
{
    READY;
    *priority = of(stream)->priority;
    return SUCCESS;
}

EXPORT int cudaStreamGetDevice(Stream *stream, int *device)
{
    READY;
    *device = (uintptr_t)stream <= NAMED_STREAMS ? current_device() : stream->device;
    return SUCCESS;
}

EXPORT int cudaStreamGetFlags(Stream *stream, unsigned *flags)
{
    READY;
    *flags = (uintptr_t)stream > NAMED_STREAMS;
    return SUCCESS;
}

EXPORT int cudaStreamAddCallback(Stream *stream, void (*call)(Stream *, int, void *), void *data, unsigned flags)
{
    (void)flags;
    READY;
    call(stream, SUCCESS, data);
    return SUCCESS;
}

EXPORT int cudaLaunchHostFunc(Stream *stream, void (*call)(void *), void *data)
{
    READY;
    enqueue(stream);
    call(data);
    return SUCCESS;
}

EXPORT int cudaDeviceSynchronize(void)
{
    READY;
    pools_settle();
    return SUCCESS;
}

EXPORT int cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    READY;
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return SUCCESS;
}

EXPORT int cudaEventCreateWithFlags(CudaEvent **event, unsigned flags)
{
    (void)flags;
    READY;
    *event = handle();
    return SUCCESS;
}

EXPORT int cudaEventCreate(CudaEvent **event) { return cudaEventCreateWithFlags(event, 0); }

EXPORT int cudaEventDestroy(CudaEvent *event)
{
    free(event);
    return SUCCESS;
}

EXPORT int cudaEventRecordWithFlags(CudaEvent *event, Stream *stream, unsigned flags)
{
    (void)flags;
    READY;
    event->graph = captured(stream);
    return SUCCESS;
}

EXPORT int cudaEventRecord(CudaEvent *event, Stream *stream) { return cudaEventRecordWithFlags(event, stream, 0); }

EXPORT int cudaEventQuery(CudaEvent *event)
{
    (void)event;
    READY;
    return SUCCESS;
}

EXPORT int cudaEventSynchronize(CudaEvent *event)
{
    (void)event;
    READY;
    pools_settle();
    return SUCCESS;
}

EXPORT int cudaEventElapsedTime(float *milliseconds, CudaEvent *start, CudaEvent *end)
{
    (void)start, (void)end;
    READY;
    /* No time means anything here. Who tunes by it must not take a kernel for so short that it repeats it for ever. */
    *milliseconds = 1;
    return SUCCESS;
}

EXPORT int cudaEventElapsedTime_v2(float *milliseconds, CudaEvent *start, CudaEvent *end)
{
    return cudaEventElapsedTime(milliseconds, start, end);
}

EXPORT int cudaIpcGetEventHandle(void *shared, CudaEvent *event)
{
    (void)shared, (void)event;
    READY;
    return SUCCESS;
}

typedef struct { char bytes[64]; } IpcEvent;

EXPORT int cudaIpcOpenEventHandle(CudaEvent **event, IpcEvent shared)
{
    (void)shared;
    return cudaEventCreateWithFlags(event, 0);
}
