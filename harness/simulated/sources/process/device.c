/* The devices: how many there are, which is current, and how they are called. */
#define _GNU_SOURCE
#include "process.h"

#include <stdio.h>

EXPORT int cudaGetDeviceCount(int *number)
{
    *number = 0;
    BEGIN;
    *number = num_devices();
    return SUCCESS;
}

EXPORT int cudaGetDevice(int *device)
{
    BEGIN;
    *device = current_device();
    return SUCCESS;
}

EXPORT int cudaSetDevice(int device)
{
    OF_DEVICE(device);
    set_current_device(device);
    READY; /* since CUDA 12 */
    return SUCCESS;
}

EXPORT int cudaRuntimeGetVersion(int *version)
{
    *version = RUNTIME_VERSION;
    return SUCCESS;
}

EXPORT int cudaDriverGetVersion(int *version)
{
    *version = world() ? world()->cuda_version : 0;
    return SUCCESS;
}

EXPORT int cuDriverGetVersion(int *version) { return cudaDriverGetVersion(version); }

EXPORT int cudaDeviceGetPCIBusId(char *text, int length, int device)
{
    OF_DEVICE(device);
    /* CUDA gives the domain in four digits, NVML in eight. */
    unsigned domain = 0, bus = 0, slot = 0;
    sscanf(gpu_of(device)->bus_id, "%x:%x:%x", &domain, &bus, &slot);
    snprintf(text, (size_t)length, "%04x:%02x:%02x.0", domain, bus, slot);
    return SUCCESS;
}

EXPORT int cudaDeviceCanAccessPeer(int *can, int device, int peer)
{
    OF_DEVICE(device);
    OF_DEVICE(peer);
    *can = 0;
    return SUCCESS;
}

EXPORT int cudaDeviceReset(void)
{
    BEGIN;
    return SUCCESS;
}

EXPORT int cuDeviceGetName(char *text, int length, int device)
{
    int code = begin();
    if (code) return code;
    if (!valid_device(device)) return INVALID_DEVICE;
    snprintf(text, (size_t)length, "%s", gpu_of(device)->name);
    return SUCCESS;
}

EXPORT int cuDeviceGetUuid(char *bytes, int device)
{
    int code = begin();
    if (code) return code;
    if (!valid_device(device)) return INVALID_DEVICE;
    read_uuid(gpu_of(device)->uuid, bytes);
    return SUCCESS;
}
