/* The driver's management of virtual memory, which torch's expandable segments use.
 *
 * Memory is created by a handle and mapped into a range of addresses. It lives as long as its handle or a mapping.
 */
#define _GNU_SOURCE
#include "blocks.h"
#include "process.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { LOCATION_DEVICE = 1 };

typedef struct { int type, handle_types, location_type, location; void *unused; uint64_t flags; } Properties;
typedef struct { size_t size; int device, users; } Memory;
typedef struct Mapping { struct Mapping *next; uint64_t start; size_t size; Memory *memory; } Mapping;

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static Mapping *mappings;

static void drop(Memory *memory)
{
    if (--memory->users) return;
    if (memory->device >= 0) world_give(world_index(memory->device), memory->size);
    free(memory);
}

EXPORT int cuMemGetAllocationGranularity(size_t *bytes, const Properties *properties, int option)
{
    (void)properties, (void)option;
    *bytes = GRANULARITY;
    return SUCCESS;
}

EXPORT int cuMemAddressReserve(uint64_t *start, size_t bytes, size_t alignment, uint64_t wanted, uint64_t flags)
{
    (void)wanted, (void)flags;
    DRIVER_READY;
    size_t step = alignment > GRANULARITY ? alignment : GRANULARITY;
    char *range = reserve(bytes + step, 0);
    if (!range) return OUT_OF_MEMORY;
    char *aligned = (char *)rounded((size_t)range, step);
    if (aligned > range) munmap(range, (size_t)(aligned - range));
    munmap(aligned + bytes, (size_t)(range + step - aligned));
    blocks_add(aligned, bytes, VIRTUAL_BLOCK, current_device());
    *start = (uint64_t)aligned;
    return SUCCESS;
}

EXPORT int cuMemAddressFree(uint64_t start, size_t bytes)
{
    (void)bytes;
    Block block = blocks_remove((void *)start, VIRTUAL_BLOCK);
    if (block.kind != VIRTUAL_BLOCK) return INVALID_VALUE;
    release(block);
    return SUCCESS;
}

EXPORT int cuMemCreate(Memory **handle, size_t bytes, const Properties *properties, uint64_t flags)
{
    (void)flags;
    DRIVER_READY;
    int device = properties->location_type == LOCATION_DEVICE ? properties->location : -1;
    if (device >= 0) {
        if (!valid_device(device)) return INVALID_DEVICE;
        int code = ready_on(device);
        if (!code) code = strikes(FAULT_ALLOCATION, device);
        if (code) return code;
        if (bytes % GRANULARITY) return INVALID_VALUE;
        if (!world_take(world_index(device), bytes)) return OUT_OF_MEMORY;
    }
    Memory *memory = calloc(1, sizeof *memory);
    if (!memory) abort();
    *memory = (Memory){bytes, device, 1};
    *handle = memory;
    return SUCCESS;
}

EXPORT int cuMemRelease(Memory *memory)
{
    DRIVER_READY;
    pthread_mutex_lock(&guard);
    drop(memory);
    pthread_mutex_unlock(&guard);
    return SUCCESS;
}

EXPORT int cuMemMap(uint64_t start, size_t bytes, size_t offset, Memory *memory, uint64_t flags)
{
    (void)offset, (void)flags;
    DRIVER_READY;
    int code = strikes(FAULT_MAPPING, memory->device < 0 ? current_device() : memory->device);
    if (code) return code;
    Mapping *mapping = calloc(1, sizeof *mapping);
    if (!mapping) abort();
    pthread_mutex_lock(&guard);
    *mapping = (Mapping){mappings, start, bytes, memory};
    mappings = mapping;
    memory->users++;
    pthread_mutex_unlock(&guard);
    return SUCCESS;
}

EXPORT int cuMemUnmap(uint64_t start, size_t bytes)
{
    DRIVER_READY;
    int found = 0;
    pthread_mutex_lock(&guard);
    for (Mapping **link = &mappings; *link;) {
        Mapping *mapping = *link;
        if (mapping->start < start || mapping->start >= start + bytes) {
            link = &mapping->next;
            continue;
        }
        found = 1;
        *link = mapping->next;
        drop(mapping->memory);
        free(mapping);
    }
    pthread_mutex_unlock(&guard);
    contents_forget((void *)start, bytes);
    return found ? SUCCESS : INVALID_VALUE;
}

EXPORT int cuMemSetAccess(uint64_t start, size_t bytes, const void *access, size_t number)
{
    (void)start, (void)bytes, (void)access, (void)number;
    DRIVER_READY;
    return SUCCESS;
}

EXPORT int cuMemRetainAllocationHandle(Memory **handle, void *address)
{
    DRIVER_READY;
    int code = INVALID_VALUE;
    pthread_mutex_lock(&guard);
    for (Mapping *mapping = mappings; mapping; mapping = mapping->next) {
        if ((uint64_t)address < mapping->start || (uint64_t)address >= mapping->start + mapping->size) continue;
        mapping->memory->users++;
        *handle = mapping->memory;
        code = SUCCESS;
        break;
    }
    pthread_mutex_unlock(&guard);
    return code;
}

/* Memory of this kind is not shared between processes here. */
EXPORT int cuMemExportToShareableHandle(void *shared, Memory *memory, int type, uint64_t flags)
{
    (void)shared, (void)memory, (void)type, (void)flags;
    return NOT_SUPPORTED;
}

EXPORT int cuMemImportFromShareableHandle(Memory **memory, void *shared, int type)
{
    (void)memory, (void)shared, (void)type;
    return NOT_SUPPORTED;
}
