/* NVML over the world: what its Python binding, the harness and torch's reports of missing memory ask.
 *
 * This is a library of its own, libnvidia-ml.so.1, so that a process can watch simulated GPUs without any of CUDA.
 */
#define _GNU_SOURCE
#include "nvml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MIG_SLOTS = 7 };

int nvml_sessions;

static int copy_text(char *to, unsigned size, const char *text)
{
    if (strlen(text) >= size) return TOO_SMALL;
    strcpy(to, text);
    return OK;
}

/* ---- sessions and the system */

EXPORT int nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    if (!world()) return NO_DRIVER;
    nvml_sessions++;
    return OK;
}

EXPORT int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
EXPORT int nvmlInit(void) { return nvmlInitWithFlags(0); }

EXPORT int nvmlShutdown(void)
{
    OPENED;
    nvml_sessions--;
    return OK;
}

EXPORT const char *nvmlErrorString(int code)
{
    switch (code) {
    case OK: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case BAD_ARGUMENT: return "Invalid Argument";
    case UNSUPPORTED: return "Not Supported";
    case NO_PERMISSION: return "Insufficient Permissions";
    case NOT_THERE: return "Not Found";
    case TOO_SMALL: return "Insufficient Size";
    case NO_DRIVER: return "Driver Not Loaded";
    case TIMEOUT: return "Timeout";
    case 15: return "GPU is lost";
    case 16: return "GPU requires restart";
    case VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}

EXPORT int nvmlSystemGetDriverVersion(char *text, unsigned size)
{
    OPENED;
    return copy_text(text, size, world()->driver);
}

EXPORT int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    OPENED;
    *version = world()->cuda_version;
    return OK;
}

EXPORT int nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

EXPORT int nvmlSystemGetProcessName(unsigned pid, char *text, unsigned size)
{
    char path[64], name[TEXT] = "";
    OPENED;
    for (int i = 0; i < world()->num_gpus; i++)
        if (world()->gpus[i].foreign_pid == (int)pid) return copy_text(text, size, world()->gpus[i].foreign_name);
    snprintf(path, sizeof path, "/proc/%u/comm", pid);
    FILE *file = fopen(path, "r");
    if (!file) return NOT_THERE;
    int found = fscanf(file, "%95[^\n]", name);
    fclose(file);
    return found == 1 ? copy_text(text, size, name) : NOT_THERE;
}

/* ---- which GPUs there are */

EXPORT int nvmlDeviceGetCount_v2(unsigned *number)
{
    OPENED;
    *number = 0;
    for (int i = 0; i < world()->num_gpus; i++) *number += !is_instance(&world()->gpus[i]);
    return OK;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned number, Gpu **gpu)
{
    OPENED;
    for (int i = 0; i < world()->num_gpus; i++) {
        if (is_instance(&world()->gpus[i]) || number--) continue;
        *gpu = &world()->gpus[i];
        return (*gpu)->nvml_error;
    }
    return BAD_ARGUMENT;
}

EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, Gpu **gpu)
{
    OPENED;
    for (int i = 0; i < world()->num_gpus; i++) {
        if (strcmp(world()->gpus[i].uuid, uuid)) continue;
        *gpu = &world()->gpus[i];
        return (*gpu)->nvml_error;
    }
    return NOT_THERE;
}

EXPORT int nvmlDeviceGetHandleByPciBusId_v2(const char *bus_id, Gpu **gpu)
{
    unsigned wanted[3] = {0}, found[3];
    OPENED;
    if (sscanf(bus_id, "%x:%x:%x", &wanted[0], &wanted[1], &wanted[2]) != 3) return BAD_ARGUMENT;
    for (int i = 0; i < world()->num_gpus; i++) {
        Gpu *candidate = &world()->gpus[i];
        if (is_instance(candidate) || sscanf(candidate->bus_id, "%x:%x:%x", &found[0], &found[1], &found[2]) != 3) continue;
        if (memcmp(wanted, found, sizeof found)) continue;
        *gpu = candidate;
        return candidate->nvml_error;
    }
    return NOT_THERE;
}

EXPORT int nvmlDeviceGetIndex(const Gpu *gpu, unsigned *number)
{
    USABLE(gpu);
    *number = 0;
    for (const Gpu *other = world()->gpus; other < physical(gpu); other++) *number += !is_instance(other);
    return OK;
}

EXPORT int nvmlDeviceGetName(const Gpu *gpu, char *text, unsigned size)
{
    USABLE(gpu);
    return copy_text(text, size, gpu->name);
}

EXPORT int nvmlDeviceGetUUID(const Gpu *gpu, char *text, unsigned size)
{
    USABLE(gpu);
    return copy_text(text, size, gpu->uuid);
}

typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } PciInfo;

EXPORT int nvmlDeviceGetPciInfo_v3(const Gpu *gpu, PciInfo *info)
{
    USABLE(gpu);
    memset(info, 0, sizeof *info);
    sscanf(gpu->bus_id, "%x:%x:%x", &info->domain, &info->bus, &info->device);
    snprintf(info->bus_id, sizeof info->bus_id, "%08X:%02X:%02X.0", info->domain & 0xffff, info->bus & 0xff, info->device & 0xff);
    snprintf(info->legacy, sizeof info->legacy, "%04X:%02X:%02X.0", info->domain & 0xffff, info->bus & 0xff, info->device & 0xff);
    info->id = 0x10de;
    return OK;
}

EXPORT int nvmlDeviceGetComputeMode(const Gpu *gpu, int *mode)
{
    USABLE(gpu);
    *mode = gpu->compute_mode;
    return OK;
}

EXPORT int nvmlDeviceGetCudaComputeCapability(const Gpu *gpu, int *major, int *minor)
{
    USABLE(gpu);
    *major = gpu->major;
    *minor = gpu->minor;
    return OK;
}

/* ---- MIG */

EXPORT int nvmlDeviceGetMigMode(const Gpu *gpu, unsigned *current, unsigned *pending)
{
    USABLE(gpu);
    if (is_instance(gpu)) return BAD_ARGUMENT;
    *current = *pending = (unsigned)gpu->mig_mode;
    return OK;
}

EXPORT int nvmlDeviceGetMaxMigDeviceCount(const Gpu *gpu, unsigned *number)
{
    USABLE(gpu);
    *number = gpu->mig_mode ? MIG_SLOTS : 0;
    return OK;
}

EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(const Gpu *gpu, unsigned slot, Gpu **instance)
{
    USABLE(gpu);
    for (int i = 0; i < world()->num_gpus; i++) {
        Gpu *found = &world()->gpus[i];
        if (found->parent != index_of(gpu) || found->mig_slot != (int)slot) continue;
        *instance = found;
        return OK;
    }
    return NOT_THERE;
}

EXPORT int nvmlDeviceIsMigDeviceHandle(const Gpu *gpu, unsigned *is)
{
    USABLE(gpu);
    *is = (unsigned)is_instance(gpu);
    return OK;
}

EXPORT int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(const Gpu *instance, const Gpu **gpu)
{
    USABLE(instance);
    if (!is_instance(instance)) return BAD_ARGUMENT;
    *gpu = physical(instance);
    return OK;
}

EXPORT int nvmlDeviceGetGpuInstanceId(const Gpu *gpu, unsigned *id)
{
    USABLE(gpu);
    if (!is_instance(gpu)) return BAD_ARGUMENT;
    *id = (unsigned)gpu->gpu_instance;
    return OK;
}

EXPORT int nvmlDeviceGetComputeInstanceId(const Gpu *gpu, unsigned *id)
{
    USABLE(gpu);
    if (!is_instance(gpu)) return BAD_ARGUMENT;
    *id = (unsigned)gpu->compute_instance;
    return OK;
}
