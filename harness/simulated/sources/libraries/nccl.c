/* NCCL: communicators know their size, and collectives answer as if every rank held what this one holds. */
#include "blocks.h"
#include "process.h"
#include "streams.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { UNHANDLED_CUDA_ERROR = 1, TYPES = 12 };

typedef struct { int ranks, rank, device; } Communicator;
typedef struct { char bytes[128]; } Id;

static const size_t WIDTHS[TYPES] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};

static size_t bytes_of(size_t count, int type) { return count * (type >= 0 && type < TYPES ? WIDTHS[type] : 4); }

static int made(Communicator **communicator, int ranks, int rank)
{
    if (ready()) return UNHANDLED_CUDA_ERROR;
    *communicator = handle();
    **communicator = (Communicator){ranks, rank, current_device()};
    return SUCCESS;
}

EXPORT int ncclGetVersion(int *version)
{
    *version = NCCL_VERSION;
    return SUCCESS;
}

EXPORT int ncclGetUniqueId(Id *id)
{
    memset(id, 0, sizeof *id);
    *(int *)id = getpid();
    return SUCCESS;
}

EXPORT const char *ncclGetErrorString(int code) { return code ? "unhandled cuda error" : "no error"; }

EXPORT const char *ncclGetLastError(void *communicator)
{
    (void)communicator;
    return "";
}

EXPORT int ncclCommInitRank(Communicator **c, int ranks, Id id, int rank) { return (void)id, made(c, ranks, rank); }

EXPORT int ncclCommInitRankConfig(Communicator **c, int ranks, Id id, int rank, void *settings)
{
    (void)id, (void)settings;
    return made(c, ranks, rank);
}

EXPORT int ncclCommInitRankScalable(Communicator **c, int ranks, int rank, int number, void *ids, void *settings)
{
    (void)number, (void)ids, (void)settings;
    return made(c, ranks, rank);
}

EXPORT int ncclCommInitAll(Communicator **c, int number, const int *devices)
{
    for (int i = 0; i < number; i++) {
        int code = made(&c[i], number, i);
        if (code) return code;
        c[i]->device = devices ? devices[i] : i;
    }
    return SUCCESS;
}

/* How many ranks have this color only they know: all of them, as they hold what this one holds. */
EXPORT int ncclCommSplit(Communicator *c, int color, int key, Communicator **other, void *settings)
{
    (void)key, (void)settings;
    if (color < 0) return *other = NULL, SUCCESS;
    return made(other, c->ranks, c->rank);
}

EXPORT int ncclCommShrink(Communicator *c, int *excluded, int number, Communicator **other, void *settings, int flags)
{
    (void)excluded, (void)settings, (void)flags;
    return made(other, c->ranks - number, c->rank);
}

EXPORT int ncclRedOpCreatePreMulSum(int *operation, void *scalar, int type, int place, Communicator *c)
{
    (void)scalar, (void)type, (void)place, (void)c;
    *operation = 5; /* the first number that NCCL leaves to those that are made */
    return SUCCESS;
}

EXPORT int ncclCommMemStats(Communicator *c, int what, uint64_t *bytes) { return (void)c, (void)what, *bytes = 0, SUCCESS; }

static int forgotten(Communicator *c)
{
    free(c);
    return SUCCESS;
}

EXPORT int ncclCommDestroy(Communicator *c) { return forgotten(c); }
EXPORT int ncclCommAbort(Communicator *c) { return forgotten(c); }
EXPORT int ncclCommCount(const Communicator *c, int *number) { return *number = c->ranks, SUCCESS; }
EXPORT int ncclCommUserRank(const Communicator *c, int *rank) { return *rank = c->rank, SUCCESS; }
EXPORT int ncclCommCuDevice(const Communicator *c, int *device) { return *device = c->device, SUCCESS; }
EXPORT int ncclCommGetAsyncError(Communicator *c, int *code) { return (void)c, *code = SUCCESS, SUCCESS; }

EXPORT int ncclCommRegister(Communicator *c, void *buffer, size_t bytes, void **registered)
{
    (void)c, (void)buffer, (void)bytes;
    *registered = handle();
    return SUCCESS;
}

EXPORT int ncclCommWindowRegister(Communicator *c, void *buffer, size_t bytes, void **window, int flags)
{
    (void)flags;
    return ncclCommRegister(c, buffer, bytes, window);
}

int cudaMalloc(void **address, size_t bytes);
int cudaFree(void *address);

EXPORT int ncclMemAlloc(void **address, size_t bytes) { return cudaMalloc(address, bytes) ? UNHANDLED_CUDA_ERROR : SUCCESS; }
EXPORT int ncclMemFree(void *address) { return cudaFree(address) ? UNHANDLED_CUDA_ERROR : SUCCESS; }

/* ---- collectives */

static int copied(void *to, const void *from, size_t bytes, void *stream)
{
    int code = ready();
    if (code) return UNHANDLED_CUDA_ERROR;
    enqueue(stream);
    if (bytes) copy(to, from, bytes);
    return SUCCESS;
}

EXPORT int ncclAllReduce(const void *from, void *to, size_t count, int type, int operation, Communicator *c, void *stream)
{
    (void)operation, (void)c;
    return copied(to, from, bytes_of(count, type), stream);
}

EXPORT int ncclReduce(const void *from, void *to, size_t count, int type, int operation, int root, Communicator *c, void *stream)
{
    (void)operation;
    return c->rank == root ? copied(to, from, bytes_of(count, type), stream) : SUCCESS;
}

EXPORT int ncclBroadcast(const void *from, void *to, size_t count, int type, int root, Communicator *c, void *stream)
{
    (void)root, (void)c;
    return copied(to, from, bytes_of(count, type), stream);
}

EXPORT int ncclReduceScatter(const char *from, void *to, size_t count, int type, int operation, Communicator *c, void *stream)
{
    (void)operation;
    size_t bytes = bytes_of(count, type);
    return copied(to, from + (size_t)c->rank * bytes, bytes, stream);
}

EXPORT int ncclAllGather(const void *from, char *to, size_t count, int type, Communicator *c, void *stream)
{
    size_t bytes = bytes_of(count, type);
    int code = SUCCESS;
    for (int rank = 0; rank < c->ranks && !code; rank++) code = copied(to + (size_t)rank * bytes, from, bytes, stream);
    return code;
}

EXPORT int ncclAlltoAll(const char *from, char *to, size_t count, int type, Communicator *c, void *stream)
{
    /* Each rank sends this one the piece that this one sends to its own number. */
    return ncclAllGather(from + (size_t)c->rank * bytes_of(count, type), to, count, type, c, stream);
}
