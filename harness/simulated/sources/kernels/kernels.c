/* Kernels are registered and launched; they compute nothing. */
#include "blocks.h"
#include "process.h"
#include "streams.h"

#include <stdlib.h>

/* ---- what the compiler's code calls while a library is loaded, and around each launch */

EXPORT void **__cudaRegisterFatBinary(void *code)
{
    (void)code;
    return handle();
}

EXPORT void __cudaRegisterFatBinaryEnd(void **code) { (void)code; }
EXPORT void __cudaUnregisterFatBinary(void **code) { (void)code; }

/* Kernels by the address of their function on the host: torch registers a hundred thousand, and few are ever looked up. */
typedef struct { const void *kernel; const char *name; } Registered;
static Registered *registered;
static size_t number, room;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

EXPORT void __cudaRegisterFunction(void **code, const void *kernel, char *function, const char *name)
{
    (void)code, (void)function;
    pthread_mutex_lock(&guard);
    if (number == room) {
        room = room ? 2 * room : 4096;
        registered = realloc(registered, room * sizeof *registered);
        if (!registered) abort();
    }
    registered[number++] = (Registered){kernel, name};
    pthread_mutex_unlock(&guard);
}

const char *kernel_name(const void *kernel)
{
    enum { KNOWN = 1024 };
    static Registered known[KNOWN]; /* of those that were looked up */
    const char *name = NULL;
    pthread_mutex_lock(&guard);
    Registered *entry = &known[(uintptr_t)kernel / 16 % KNOWN];
    if (entry->kernel != kernel) {
        *entry = (Registered){kernel, NULL};
        for (size_t i = 0; i < number && !entry->name; i++)
            if (registered[i].kernel == kernel) entry->name = registered[i].name;
    }
    name = entry->name;
    pthread_mutex_unlock(&guard);
    return name;
}

EXPORT void __cudaRegisterVar(void) {}

EXPORT char __cudaInitModule(void **code)
{
    (void)code;
    return 1;
}

static __thread struct { Dim3 grid, block; size_t shared; Stream *stream; } pushed;

EXPORT unsigned __cudaPushCallConfiguration(Dim3 grid, Dim3 block, size_t shared, Stream *stream)
{
    pushed.grid = grid;
    pushed.block = block;
    pushed.shared = shared;
    pushed.stream = stream;
    return 0;
}

EXPORT int __cudaPopCallConfiguration(Dim3 *grid, Dim3 *block, size_t *shared, Stream **stream)
{
    *grid = pushed.grid;
    *block = pushed.block;
    *shared = pushed.shared;
    *stream = pushed.stream;
    return SUCCESS;
}

EXPORT int __cudaGetKernel(void **kernel, const void *function)
{
    *kernel = (void *)function;
    return SUCCESS;
}

/* ---- launches */

static int launched(Stream *stream, const void *kernel, void **arguments)
{
    int code = ready();
    if (code) return code;
    if (arguments) forget_arguments(kernel, arguments);
    int sticky = 0;
    code = world_strikes(FAULT_LAUNCH, world_index(current_device()), &sticky);
    enqueue(stream);
    if (!code || !sticky) return code;
    /* A kernel that fails while it runs fails the calls after its launch. */
    poison(code);
    return SUCCESS;
}

EXPORT int cudaLaunchKernel(const void *function, Dim3 grid, Dim3 block, void **arguments, size_t shared, Stream *stream)
{
    (void)grid, (void)block, (void)shared;
    return failed(launched(stream, function, arguments));
}

EXPORT int __cudaLaunchKernel(void *kernel, Dim3 grid, Dim3 block, void **arguments, size_t shared, Stream *stream)
{
    return cudaLaunchKernel(kernel, grid, block, arguments, shared, stream);
}

EXPORT int cudaLaunchCooperativeKernel(const void *function, Dim3 grid, Dim3 block, void **arguments, size_t shared,
                                       Stream *stream)
{
    return cudaLaunchKernel(function, grid, block, arguments, shared, stream);
}

typedef struct { Dim3 grid, block; size_t shared; Stream *stream; } LaunchConfiguration;

EXPORT int cudaLaunchKernelExC(const LaunchConfiguration *configuration, const void *function, void **arguments)
{
    return failed(launched(configuration->stream, function, arguments));
}

typedef struct { unsigned grid[3], block[3], shared; Stream *stream; } DriverConfiguration;

EXPORT int cuLaunchKernelEx(const DriverConfiguration *configuration, void *function, void **arguments, void **extra)
{
    (void)extra;
    return launched(configuration->stream, function, arguments);
}

EXPORT int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                          unsigned shared, Stream *stream, void **arguments, void **extra)
{
    (void)gx, (void)gy, (void)gz, (void)bx, (void)by, (void)bz;
    (void)shared, (void)extra;
    return launched(stream, function, arguments);
}

EXPORT int cuLaunchCooperativeKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                                     unsigned bz, unsigned shared, Stream *stream, void **arguments)
{
    return cuLaunchKernel(function, gx, gy, gz, bx, by, bz, shared, stream, arguments, NULL);
}
