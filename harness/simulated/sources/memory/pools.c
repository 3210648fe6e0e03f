/* Pools for allocations in the order of a stream: cudaMallocAsync.
 *
 * A pool takes memory of the device in pieces of 32 MiB (an assumption: no document has the size) and keeps up to its release threshold of what is free when a
 * stream is waited for. Fragments are not counted.
 */
#include "blocks.h"
#include "process.h"

#include <stdlib.h>

enum { PIECE = 32 << 20, STEP = 512 };
enum { RELEASE_THRESHOLD = 4, RESERVED, RESERVED_HIGH, USED, USED_HIGH }; /* cudaMemPoolAttr */

typedef struct { uint64_t reserved, reserved_high, used, used_high, threshold; int device; } Pool;

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static Pool pools[MAX_GPUS];

static Pool *default_pool(int device)
{
    pools[device].device = device;
    return &pools[device];
}

static void keep(Pool *pool, uint64_t bytes)
{
    uint64_t wanted = pool->used > bytes ? pool->used : bytes;
    wanted = wanted ? (wanted + PIECE - 1) / PIECE * PIECE : 0;
    if (wanted >= pool->reserved) return;
    world_give(world_index(pool->device), pool->reserved - wanted);
    pool->reserved = wanted;
}

/* A stream or a device was waited for: the pools give back what they need not keep. */
void pools_settle(void)
{
    pthread_mutex_lock(&guard);
    for (int device = 0; device < num_devices(); device++)
        if (pools[device].reserved > pools[device].threshold) keep(default_pool(device), pools[device].threshold);
    pthread_mutex_unlock(&guard);
}

static int grow(Pool *pool, uint64_t bytes)
{
    if (pool->used + bytes > pool->reserved) {
        uint64_t more = rounded(pool->used + bytes - pool->reserved, PIECE);
        if (!world_take(world_index(pool->device), more)) return 0;
        pool->reserved += more;
        if (pool->reserved > pool->reserved_high) pool->reserved_high = pool->reserved;
    }
    pool->used += bytes;
    if (pool->used > pool->used_high) pool->used_high = pool->used;
    return 1;
}

static int allocate(void **address, size_t bytes, Pool *pool)
{
    int code = strikes(FAULT_ALLOCATION, pool->device);
    if (code) return failed(code);
    size_t size = rounded(bytes, STEP);
    pthread_mutex_lock(&guard);
    int fits = grow(pool, size);
    pthread_mutex_unlock(&guard);
    if (!fits || !(*address = reserve(size, 0))) return failed(OUT_OF_MEMORY);
    blocks_add(*address, size, POOL_BLOCK, pool->device);
    return SUCCESS;
}

int free_pooled(void *address)
{
    Block block = blocks_remove(address, POOL_BLOCK);
    if (block.kind != POOL_BLOCK) return 0;
    pthread_mutex_lock(&guard);
    default_pool(block.device)->used -= block.size;
    pthread_mutex_unlock(&guard);
    release(block);
    return 1;
}

EXPORT int cudaMallocAsync(void **address, size_t bytes, void *stream)
{
    (void)stream;
    READY;
    return allocate(address, bytes, default_pool(current_device()));
}

EXPORT int cudaMallocFromPoolAsync(void **address, size_t bytes, Pool *pool, void *stream)
{
    (void)stream;
    READY;
    return allocate(address, bytes, pool);
}

EXPORT int cudaFreeAsync(void *address, void *stream)
{
    (void)stream;
    READY;
    return failed(free_pooled(address) ? SUCCESS : INVALID_VALUE);
}

EXPORT int cudaDeviceGetDefaultMemPool(Pool **pool, int device)
{
    OF_DEVICE(device);
    *pool = default_pool(device);
    return SUCCESS;
}

EXPORT int cudaDeviceGetMemPool(Pool **pool, int device) { return cudaDeviceGetDefaultMemPool(pool, device); }

EXPORT int cudaMemPoolTrimTo(Pool *pool, size_t bytes)
{
    READY;
    pthread_mutex_lock(&guard);
    keep(pool, bytes);
    pthread_mutex_unlock(&guard);
    return SUCCESS;
}

EXPORT int cudaMemPoolGetAttribute(Pool *pool, int attribute, void *value)
{
    READY;
    switch (attribute) {
    case RELEASE_THRESHOLD: *(uint64_t *)value = pool->threshold; break;
    case RESERVED: *(uint64_t *)value = pool->reserved; break;
    case RESERVED_HIGH: *(uint64_t *)value = pool->reserved_high; break;
    case USED: *(uint64_t *)value = pool->used; break;
    case USED_HIGH: *(uint64_t *)value = pool->used_high; break;
    default: *(int *)value = 1; /* how memory may be used again: in every way */
    }
    return SUCCESS;
}

EXPORT int cudaMemPoolSetAttribute(Pool *pool, int attribute, const void *value)
{
    READY;
    switch (attribute) {
    case RELEASE_THRESHOLD: pool->threshold = *(const uint64_t *)value; break;
    case RESERVED_HIGH: pool->reserved_high = pool->reserved; break;
    case USED_HIGH: pool->used_high = pool->used; break;
    default: break;
    }
    return SUCCESS;
}
