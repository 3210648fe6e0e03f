/* NCCL's communicators: who is in them, and under which number their ranks find each other's messages. */
#include "communicator.h"
#include "process.h"
#include "streams.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct { char bytes[128]; } Id;

/* FNV-1a: of equal facts every rank makes the same number. */
static uint64_t hashed(uint64_t hash, const void *facts, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ ((const unsigned char *)facts)[i]) * 0x100000001b3u;
    return hash;
}

static uint64_t group_of(uint64_t parent, uint64_t sequence, int color)
{
    uint64_t facts[] = {parent, sequence, (uint64_t)(int64_t)color};
    return hashed(0xcbf29ce484222325u, facts, sizeof facts);
}

static int made(Communicator **communicator, uint64_t group, int ranks, int rank)
{
    if (ready()) return UNHANDLED_CUDA_ERROR;
    Communicator *c = calloc(1, sizeof *c + 2 * (size_t)ranks * sizeof *c->sent);
    if (!c) abort();
    c->here = (Address){group, ranks, rank};
    c->device = current_device();
    *communicator = c;
    if (ranks > 1) message_begin(c->here);
    return SUCCESS;
}

static int made_by(Communicator **c, int ranks, const Id *id, int rank)
{
    return made(c, hashed(0xcbf29ce484222325u, id, sizeof *id), ranks, rank);
}

EXPORT int ncclGetVersion(int *version)
{
    *version = NCCL_VERSION;
    return SUCCESS;
}

EXPORT int ncclGetUniqueId(Id *id)
{
    static int number;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    memset(id, 0, sizeof *id);
    int64_t facts[] = {getpid(), __atomic_add_fetch(&number, 1, __ATOMIC_RELAXED), now.tv_sec, now.tv_nsec};
    memcpy(id, facts, sizeof facts);
    return SUCCESS;
}

EXPORT const char *ncclGetErrorString(int code)
{
    if (code == REMOTE_ERROR) return "remote process exited or there was a network error";
    return code ? "unhandled cuda error" : "no error";
}

EXPORT const char *ncclGetLastError(void *communicator)
{
    (void)communicator;
    return "";
}

EXPORT int ncclCommInitRank(Communicator **c, int ranks, Id id, int rank) { return made_by(c, ranks, &id, rank); }

EXPORT int ncclCommInitRankConfig(Communicator **c, int ranks, Id id, int rank, void *settings)
{
    (void)settings;
    return made_by(c, ranks, &id, rank);
}

EXPORT int ncclCommInitRankScalable(Communicator **c, int ranks, int rank, int number, const Id *ids, void *settings)
{
    (void)number, (void)settings;
    return made_by(c, ranks, ids, rank);
}

EXPORT int ncclCommInitAll(Communicator **c, int number, const int *devices)
{
    Id id;
    ncclGetUniqueId(&id);
    for (int i = 0; i < number; i++) {
        int code = made_by(&c[i], number, &id, i);
        if (code) return code;
        c[i]->device = devices ? devices[i] : i;
    }
    return SUCCESS;
}

typedef struct { int32_t color, key; } Choice;

/* Ranks of one color are ordered by their keys, and by their ranks where these are equal. This is NCCL's own
 * meeting of all ranks, so it waits for them. */
EXPORT int ncclCommSplit(Communicator *c, int color, int key, Communicator **other, void *settings)
{
    (void)settings;
    Choice mine = {color, key}, of_rank;
    int ranks = 0, before = 0;
    uint64_t sequence = c->collectives++;
    message_post(c->here, COLLECTIVE, sequence, &mine, sizeof mine);
    *other = NULL;
    if (color < 0) return SUCCESS;
    /* How many of the absent ranks have this color nobody tells: the new communicator is one of this rank alone. */
    if (is_alone()) return made(other, group_of(c->here.group, sequence, color), 1, 0);
    for (int rank = 0; rank < c->here.ranks; rank++) {
        if (message_read(c->here, rank, COLLECTIVE, sequence, (char *)&of_rank, 0, sizeof of_rank)) return REMOTE_ERROR;
        if (of_rank.color != color) continue;
        ranks++;
        before += of_rank.key < key || (of_rank.key == key && rank < c->here.rank);
    }
    return made(other, group_of(c->here.group, sequence, color), ranks, before);
}

EXPORT int ncclCommShrink(Communicator *c, int *excluded, int number, Communicator **other, void *settings, int flags)
{
    (void)settings, (void)flags;
    int rank = c->here.rank;
    for (int i = 0; i < number; i++) rank -= excluded[i] < c->here.rank;
    return made(other, group_of(c->here.group, c->collectives++, -1), c->here.ranks - number, rank);
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
EXPORT int ncclCommCount(const Communicator *c, int *number) { return *number = c->here.ranks, SUCCESS; }
EXPORT int ncclCommUserRank(const Communicator *c, int *rank) { return *rank = c->here.rank, SUCCESS; }
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
