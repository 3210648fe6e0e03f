/* What is known of a kernel, and the modules of kernels that Triton and torch's just-in-time compiler load. */
#include "process.h"
#include "streams.h"

#include <stdlib.h>
#include <string.h>

enum { REGISTERS = 32, THREADS_PER_BLOCK = 1024, STATIC_SHARED = 49152 };

typedef struct {
    size_t shared, constant, local;
    int threads, registers, ptx, binary, cached, dynamic_shared, others[23];
} FunctionAttributes;

EXPORT int cudaFuncGetAttributes(FunctionAttributes *attributes, const void *function)
{
    (void)function;
    READY;
    Gpu *gpu = gpu_of(current_device());
    memset(attributes, 0, sizeof *attributes);
    attributes->threads = THREADS_PER_BLOCK;
    attributes->registers = REGISTERS;
    attributes->ptx = attributes->binary = gpu->major * 10 + gpu->minor;
    attributes->dynamic_shared = STATIC_SHARED;
    return SUCCESS;
}

enum { FUNCTION_THREADS, FUNCTION_REGISTERS = 4, FUNCTION_PTX, FUNCTION_BINARY, FUNCTION_DYNAMIC_SHARED = 8 };

EXPORT int cuFuncGetAttribute(int *value, int attribute, void *function)
{
    (void)function;
    DRIVER_READY;
    Gpu *gpu = gpu_of(current_device());
    switch (attribute) {
    case FUNCTION_THREADS: *value = THREADS_PER_BLOCK; break;
    case FUNCTION_REGISTERS: *value = REGISTERS; break;
    case FUNCTION_PTX: case FUNCTION_BINARY: *value = gpu->major * 10 + gpu->minor; break;
    case FUNCTION_DYNAMIC_SHARED: *value = STATIC_SHARED; break;
    default: *value = 0;
    }
    return SUCCESS;
}

static int blocks_per_multiprocessor(int *number, int threads)
{
    int most = threads_per_multiprocessor(gpu_of(current_device()));
    *number = threads > 0 && threads < most ? most / threads : 1;
    return SUCCESS;
}

EXPORT int cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *number, const void *function, int threads, size_t shared)
{
    (void)function, (void)shared;
    READY;
    return blocks_per_multiprocessor(number, threads);
}

EXPORT int cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *number, const void *function, int threads,
                                                                  size_t shared, unsigned flags)
{
    (void)flags;
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(number, function, threads, shared);
}

EXPORT int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *number, void *function, int threads, size_t shared)
{
    (void)function, (void)shared;
    DRIVER_READY;
    return blocks_per_multiprocessor(number, threads);
}

EXPORT int cuOccupancyMaxActiveClusters(int *number, void *function, const void *configuration)
{
    (void)function, (void)configuration;
    DRIVER_READY;
    *number = 1;
    return SUCCESS;
}

/* ---- modules */

static int loaded(void **made)
{
    DRIVER_READY;
    *made = handle();
    return SUCCESS;
}

EXPORT int cuModuleLoadData(void **module, const void *code) { return (void)code, loaded(module); }
EXPORT int cuModuleLoad(void **module, const char *path) { return (void)path, loaded(module); }
EXPORT int cuModuleGetFunction(void **function, void *module, const char *name) { return (void)module, (void)name, loaded(function); }
EXPORT int cuLibraryLoadData(void **library, const void *code) { return (void)code, loaded(library); }
EXPORT int cuLibraryGetKernel(void **kernel, void *library, const char *name) { return (void)library, (void)name, loaded(kernel); }
EXPORT int cudaLibraryLoadData(void **library, const void *code) { return (void)code, failed(loaded(library)); }
EXPORT int cudaLibraryGetKernel(void **kernel, void *library, const char *name) { return (void)library, (void)name, failed(loaded(kernel)); }
EXPORT int cuKernelGetFunction(void **function, void *kernel) { return *function = kernel, SUCCESS; }

EXPORT int cuModuleLoadDataEx(void **module, const void *code, unsigned number, void *options, void **values)
{
    (void)code, (void)number, (void)options, (void)values;
    return loaded(module);
}

/* What was linked is never looked at: no kernel runs. */
EXPORT int cuLinkCreate_v2(unsigned number, void *options, void **values, void **linked)
{
    (void)number, (void)options, (void)values;
    return loaded(linked);
}

EXPORT int cuLinkComplete(void *linked, void **code, size_t *size)
{
    *code = linked;
    *size = 0;
    return SUCCESS;
}

EXPORT int cuModuleUnload(void *module)
{
    free(module);
    return SUCCESS;
}
