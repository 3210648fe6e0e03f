/* Listens to torch's allocator, which tells the profiler of every allocation how much it has allocated in all.
 *
 * torch's libraries find this function before their own one, because this library is preloaded. So what a program
 * allocates is known without its help, whatever it resets and however it ends. An allocator that tells nothing leaves 0.
 */
#define _GNU_SOURCE
#include "process.h"

#include <dlfcn.h>

/* c10::Device: a type and an index of one byte each, since torch 1.8. */
typedef struct { signed char type, index; } TorchDevice;
typedef void Report(void *, int64_t, size_t, size_t, TorchDevice);

enum { TORCH_CUDA = 1 }; /* c10::DeviceType */

#define REPORT "_ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static Report *of_torch;

static void find(void)
{
    /* Python loads torch's libraries for themselves, so RTLD_NEXT does not see them. */
    void *library = dlopen("libc10.so", RTLD_NOW | RTLD_NOLOAD);
    if (library) of_torch = (Report *)dlsym(library, REPORT);
}

EXPORT void told_to_profiler(void *address, int64_t bytes, size_t allocated, size_t reserved, TorchDevice device)
    __asm__(REPORT);

void told_to_profiler(void *address, int64_t bytes, size_t allocated, size_t reserved, TorchDevice device)
{
    if (device.type == TORCH_CUDA && valid_device(device.index)) peaks_allocated(world_index(device.index), allocated);
    pthread_once(&once, find);
    if (of_torch && of_torch != told_to_profiler) of_torch(address, bytes, allocated, reserved, device);
}
