/* The runtime's memory: allocations of a device and of the host, copies between them, and what an address is. */
#define _GNU_SOURCE
#include "blocks.h"
#include "process.h"

#include <string.h>

enum { UNREGISTERED, ON_HOST, ON_DEVICE, MANAGED }; /* cudaMemoryType */
enum { OUTSIDE = -2 };                              /* the device of an address that CUDA does not know */

static int allocate(void **address, size_t bytes, int device)
{
    size_t size = rounded(bytes, GRANULARITY);
    int code = strikes(FAULT_ALLOCATION, device);
    if (code) return code;
    if (!world_take(world_index(device), size)) return OUT_OF_MEMORY;
    *address = reserve(size, 0);
    if (!*address) {
        world_give(world_index(device), size);
        return OUT_OF_MEMORY;
    }
    blocks_add(*address, size, DEVICE_BLOCK, device);
    return SUCCESS;
}

EXPORT int cudaMalloc(void **address, size_t bytes)
{
    READY;
    return failed(allocate(address, bytes, current_device()));
}

EXPORT int cudaMallocPitch(void **address, size_t *pitch, size_t width, size_t height)
{
    READY;
    *pitch = rounded(width, 512);
    return failed(allocate(address, *pitch * height, current_device()));
}

int free_pooled(void *address);

EXPORT int cudaFree(void *address)
{
    READY;
    if (!address) return SUCCESS;
    Block block = blocks_remove(address, DEVICE_BLOCK);
    if (block.kind == DEVICE_BLOCK) {
        world_give(world_index(block.device), block.size);
        release(block);
        return SUCCESS;
    }
    block = blocks_remove(address, MANAGED_BLOCK);
    if (block.kind == MANAGED_BLOCK) {
        release(block);
        return SUCCESS;
    }
    return failed(free_pooled(address) ? SUCCESS : INVALID_VALUE);
}

/* ---- memory of the host: it is real, and the kernel gives pages as they are touched */

EXPORT int cudaHostAlloc(void **address, size_t bytes, unsigned flags)
{
    (void)flags;
    READY;
    int code = strikes(FAULT_PINNED, current_device());
    if (code) return failed(code);
    size_t size = rounded(bytes, PAGE);
    *address = reserve(size, 1);
    if (!*address) return failed(OUT_OF_MEMORY);
    blocks_add(*address, size, PINNED_BLOCK, current_device());
    return SUCCESS;
}

EXPORT int cudaMallocHost(void **address, size_t bytes) { return cudaHostAlloc(address, bytes, 0); }

EXPORT int cudaFreeHost(void *address)
{
    READY;
    if (!address) return SUCCESS;
    Block block = blocks_remove(address, PINNED_BLOCK);
    if (block.kind != PINNED_BLOCK) return failed(INVALID_VALUE);
    release(block);
    return SUCCESS;
}

EXPORT int cudaHostRegister(void *address, size_t bytes, unsigned flags)
{
    (void)flags;
    READY;
    int code = strikes(FAULT_PINNED, current_device());
    if (code) return failed(code);
    blocks_add(address, bytes, REGISTERED_BLOCK, current_device());
    return SUCCESS;
}

EXPORT int cudaHostUnregister(void *address)
{
    READY;
    return failed(blocks_remove(address, REGISTERED_BLOCK).kind == NO_BLOCK ? INVALID_VALUE : SUCCESS);
}

EXPORT int cudaHostGetDevicePointer(void **on_device, void *address, unsigned flags)
{
    (void)flags;
    READY;
    *on_device = address;
    return SUCCESS;
}

/* Managed memory is paged between host and device, so it is never short of the device's. */
EXPORT int cudaMallocManaged(void **address, size_t bytes, unsigned flags)
{
    (void)flags;
    READY;
    size_t size = rounded(bytes, PAGE);
    *address = reserve(size, 1);
    if (!*address) return failed(OUT_OF_MEMORY);
    blocks_add(*address, size, MANAGED_BLOCK, current_device());
    return SUCCESS;
}

/* ---- what there is */

EXPORT int cudaMemGetInfo(size_t *free, size_t *total)
{
    READY;
    int index = world_index(current_device());
    world_reap();
    uint64_t used = world_used(index), all = world()->gpus[index].total;
    *free = used < all ? all - used : 0;
    *total = all;
    return SUCCESS;
}

/* CUDA 13 has eight more words behind these, which it leaves zero. */
typedef struct { int type, device; void *device_pointer, *host_pointer; } PointerAttributes;

EXPORT int cudaPointerGetAttributes(PointerAttributes *attributes, const void *address)
{
    READY;
    Block block = blocks_find(address);
    memset(attributes, 0, sizeof *attributes);
    attributes->device = block.kind == NO_BLOCK ? OUTSIDE : block.device;
    if (block.kind == NO_BLOCK) return SUCCESS;
    attributes->type = block.kind == MANAGED_BLOCK ? MANAGED : is_on_device(address) ? ON_DEVICE : ON_HOST;
    attributes->device_pointer = (void *)address;
    attributes->host_pointer = attributes->type == ON_DEVICE ? NULL : (void *)address;
    return SUCCESS;
}

/* ---- copies; what a copy between two places of the host says is done at once */

int copy(void *to, const void *from, size_t bytes)
{
    int to_device = is_on_device(to), from_device = is_on_device(from);
    if (to == from || !bytes) return SUCCESS;
    if (from_device && !to_device) return contents_read(to, from, bytes);
    if (to_device && from_device) contents_move(to, from, bytes);
    else if (to_device) contents_write(to, from, bytes);
    else memmove(to, from, bytes);
    return SUCCESS;
}

static int copied(void *to, const void *from, size_t bytes)
{
    READY;
    return failed(copy(to, from, bytes));
}

EXPORT int cudaMemcpy(void *to, const void *from, size_t bytes, int kind)
{
    (void)kind;
    return copied(to, from, bytes);
}

EXPORT int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *stream)
{
    (void)kind, (void)stream;
    return copied(to, from, bytes);
}

EXPORT int cudaMemcpyPeer(void *to, int to_device, const void *from, int from_device, size_t bytes)
{
    (void)to_device, (void)from_device;
    return copied(to, from, bytes);
}

EXPORT int cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device, size_t bytes, void *stream)
{
    (void)to_device, (void)from_device, (void)stream;
    return copied(to, from, bytes);
}

EXPORT int cudaMemcpy2DAsync(char *to, size_t to_pitch, const char *from, size_t from_pitch, size_t width, size_t height,
                             int kind, void *stream)
{
    (void)kind, (void)stream;
    READY;
    int code = SUCCESS;
    for (size_t row = 0; row < height && !code; row++) code = copy(to + row * to_pitch, from + row * from_pitch, width);
    return failed(code);
}

EXPORT int cudaMemcpy2D(char *to, size_t to_pitch, const char *from, size_t from_pitch, size_t width, size_t height, int kind)
{
    return cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, height, kind, NULL);
}

EXPORT int cudaMemset(void *to, int value, size_t bytes)
{
    READY;
    if (is_on_device(to)) contents_fill(to, value, bytes);
    else memset(to, value, bytes);
    return SUCCESS;
}

EXPORT int cudaMemsetAsync(void *to, int value, size_t bytes, void *stream)
{
    (void)stream;
    return cudaMemset(to, value, bytes);
}

/* Constants and variables of kernels lie in their module, which the context's bytes include. */
EXPORT int cudaGetSymbolAddress(void **address, const void *symbol)
{
    static void *module;
    (void)symbol;
    READY;
    if (!module) {
        module = reserve(GRANULARITY, 0);
        if (!module) return failed(OUT_OF_MEMORY);
        blocks_add(module, GRANULARITY, OPENED_BLOCK, current_device());
    }
    *address = module;
    return SUCCESS;
}

/* ---- memory that another process shares: its address range, which costs nothing a second time */

typedef struct { size_t size, bytes[7]; } IpcHandle;

EXPORT int cudaIpcGetMemHandle(IpcHandle *handle, void *address)
{
    READY;
    Block block = blocks_find(address);
    if (block.kind != DEVICE_BLOCK) return failed(INVALID_VALUE);
    memset(handle, 0, sizeof *handle);
    handle->size = block.size;
    return SUCCESS;
}

EXPORT int cudaIpcOpenMemHandle(void **address, IpcHandle handle, unsigned flags)
{
    (void)flags;
    READY;
    *address = reserve(handle.size, 0);
    if (!*address) return failed(OUT_OF_MEMORY);
    blocks_add(*address, handle.size, OPENED_BLOCK, current_device());
    return SUCCESS;
}

EXPORT int cudaIpcCloseMemHandle(void *address)
{
    READY;
    Block block = blocks_remove(address, OPENED_BLOCK);
    if (block.kind != OPENED_BLOCK) return failed(INVALID_VALUE);
    release(block);
    return SUCCESS;
}
