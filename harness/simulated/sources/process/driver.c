/* The driver's entry points that torch, Triton and Inductor ask for. */
#define _GNU_SOURCE
#include "blocks.h"
#include "process.h"

#include <dlfcn.h>
#include <string.h>

/* A context is its device: nobody looks inside. */
static char contexts[MAX_GPUS];

static int device_of(const void *context) { return (int)((const char *)context - contexts); }

EXPORT int cuInit(unsigned flags)
{
    (void)flags;
    return begin();
}

EXPORT int cuDeviceGetCount(int *number)
{
    int code = begin();
    *number = code ? 0 : num_devices();
    return code;
}

EXPORT int cuDeviceGet(int *device, int ordinal)
{
    int code = begin();
    if (code) return code;
    if (!valid_device(ordinal)) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}

EXPORT int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    int code = begin();
    if (code) return code;
    if (!valid_device(device)) return INVALID_DEVICE;
    *bytes = gpu_of(device)->total;
    return SUCCESS;
}

EXPORT int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active)
{
    int code = begin();
    if (code) return code;
    if (!valid_device(device)) return INVALID_DEVICE;
    if (flags) *flags = 0;
    *active = is_ready(device);
    return SUCCESS;
}

EXPORT int cuDevicePrimaryCtxRetain(void **context, int device)
{
    int code = begin();
    if (code) return code;
    if (!valid_device(device)) return INVALID_DEVICE;
    code = ready_on(device);
    if (!code) *context = &contexts[device];
    return code;
}

EXPORT int cuCtxGetCurrent(void **context)
{
    int code = begin();
    if (code) return code;
    *context = is_ready(current_device()) ? &contexts[current_device()] : NULL;
    return SUCCESS;
}

EXPORT int cuCtxSetCurrent(void *context)
{
    int code = begin();
    if (!code && context) set_current_device(device_of(context));
    return code;
}

EXPORT int cuCtxPushCurrent_v2(void *context) { return cuCtxSetCurrent(context); }
EXPORT int cuCtxPopCurrent_v2(void **context) { return context ? cuCtxGetCurrent(context) : SUCCESS; }

EXPORT int cuCtxGetDevice(int *device)
{
    DRIVER_READY;
    *device = current_device();
    return SUCCESS;
}

EXPORT int cuCtxGetLimit(size_t *value, int limit)
{
    (void)limit;
    DRIVER_READY;
    *value = 1024;
    return SUCCESS;
}

EXPORT int cuCtxSetLimit(int limit, size_t value)
{
    (void)limit, (void)value;
    DRIVER_READY;
    return SUCCESS;
}

EXPORT int cuCtxSynchronize(void)
{
    DRIVER_READY;
    return SUCCESS;
}

int cudaMemGetInfo(size_t *free, size_t *total);

EXPORT int cuMemGetInfo_v2(size_t *free, size_t *total) { return cudaMemGetInfo(free, total); }

EXPORT int cuMemGetAddressRange_v2(uint64_t *start, size_t *bytes, uint64_t address)
{
    DRIVER_READY;
    Block block = blocks_find((void *)address);
    if (block.kind == NO_BLOCK) return INVALID_VALUE;
    if (start) *start = (uint64_t)block.start;
    if (bytes) *bytes = block.size;
    return SUCCESS;
}

enum { CONTEXT_OF = 1, MEMORY_TYPE, DEVICE_POINTER, HOST_POINTER, ORDINAL = 9, RANGE_START = 11, RANGE_SIZE };
enum { TYPE_HOST = 1, TYPE_DEVICE = 2 };

EXPORT int cuPointerGetAttribute(void *value, int attribute, uint64_t address)
{
    DRIVER_READY;
    Block block = blocks_find((void *)address);
    if (block.kind == NO_BLOCK) return INVALID_VALUE;
    switch (attribute) {
    case CONTEXT_OF: *(void **)value = &contexts[block.device]; break;
    case MEMORY_TYPE: *(unsigned *)value = is_on_device((void *)address) ? TYPE_DEVICE : TYPE_HOST; break;
    case DEVICE_POINTER: *(uint64_t *)value = address; break;
    case HOST_POINTER: *(uint64_t *)value = is_on_device((void *)address) ? 0 : address; break;
    case ORDINAL: *(int *)value = block.device; break;
    case RANGE_START: *(uint64_t *)value = (uint64_t)block.start; break;
    case RANGE_SIZE: *(size_t *)value = block.size; break;
    default: *(unsigned *)value = 0;
    }
    return SUCCESS;
}

EXPORT int cuMemsetD32Async(uint64_t to, unsigned value, size_t number, void *stream)
{
    (void)stream;
    DRIVER_READY;
    /* Only zeros are of one byte four times over; what else is filled in this way are signals between GPUs. */
    contents_fill((void *)to, value ? 0 : (int)value, 4 * number);
    return SUCCESS;
}

/* CUPTI's version, for torch's profiler: any. There is never anything to record. */
EXPORT int cuptiGetVersion(unsigned *version) { return *version = 1, SUCCESS; }

/* Tensor maps describe memory to kernels, which do not run. */
EXPORT int cuTensorMapEncodeTiled(void) { return SUCCESS; }
EXPORT int cuTensorMapEncodeIm2col(void) { return SUCCESS; }
EXPORT int cuFuncSetAttribute(void) { return SUCCESS; }
EXPORT int cuFuncSetCacheConfig(void) { return SUCCESS; }

/* cuDNN's engines print a line for each of these that is not there. */
#define DOES_NOTHING(name) EXPORT int name(void) { return SUCCESS; }
DOES_NOTHING(cuKernelGetAttribute)
DOES_NOTHING(cuKernelSetAttribute)
DOES_NOTHING(cuLibraryLoadFromFile)
DOES_NOTHING(cuLibraryUnload)
DOES_NOTHING(cuLinkAddData)
DOES_NOTHING(cuLinkCreate)
DOES_NOTHING(cuLinkDestroy)
DOES_NOTHING(cuOccupancyMaxPotentialClusterSize)
DOES_NOTHING(cuStreamGetCtx)

/* NVIDIA's compiler asks for a table of functions that nobody documents, and does without it. */
EXPORT int cuGetExportTable(const void **table, const void *id)
{
    (void)id;
    *table = NULL;
    return NOT_FOUND;
}

static int nothing(void) { return SUCCESS; }

/* Where a function of the driver is; any that this library does not have does nothing. */
static void *entry(const char *name)
{
    static void *self;
    Dl_info here;
    char versioned[128];
    if (!self && dladdr((void *)entry, &here)) self = dlopen(here.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    strncpy(versioned, name, sizeof versioned - 4);
    versioned[sizeof versioned - 4] = 0;
    strcat(versioned, "_v2");
    void *found = dlsym(self, name);
    if (!found) found = dlsym(self, versioned);
    return found ? found : (void *)nothing;
}

EXPORT int cudaGetDriverEntryPoint(const char *name, void **function, unsigned long long flags, int *status)
{
    (void)flags;
    *function = entry(name);
    if (status) *status = SUCCESS;
    return SUCCESS;
}

EXPORT int cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version, unsigned long long flags,
                                            int *status)
{
    (void)version;
    return cudaGetDriverEntryPoint(name, function, flags, status);
}

EXPORT int cuGetProcAddress_v2(const char *name, void **function, int version, uint64_t flags, int *status)
{
    (void)version;
    return cudaGetDriverEntryPoint(name, function, flags, status);
}
