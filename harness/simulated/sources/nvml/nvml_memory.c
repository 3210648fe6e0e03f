/* NVML's answers on the memory of a GPU and on the processes that hold it. */
#include "nvml.h"

#include <string.h>

/* Whether a GPU is this one, or an instance of it. */
static int is_part(int index, const Gpu *of) { return index == index_of(of) || world()->gpus[index].parent == index_of(of); }

static uint64_t used(const Gpu *gpu)
{
    uint64_t bytes = 0;
    world_reap();
    for (int i = 0; i < world()->num_gpus; i++)
        if (is_part(i, gpu)) bytes += world_used(i);
    return bytes < gpu->total ? bytes : gpu->total;
}

typedef struct { uint64_t total, free, used; } MemoryInfo;
typedef struct { unsigned version; uint64_t total, reserved, free, used; } MemoryInfoV2;

EXPORT int nvmlDeviceGetMemoryInfo(const Gpu *gpu, MemoryInfo *info)
{
    USABLE(gpu);
    uint64_t free = gpu->total - used(gpu);
    *info = (MemoryInfo){gpu->nvml_total, free, gpu->nvml_total - free};
    return OK;
}

EXPORT int nvmlDeviceGetMemoryInfo_v2(const Gpu *gpu, MemoryInfoV2 *info)
{
    USABLE(gpu);
    if (info->version != (sizeof *info | 2u << 24)) return VERSION_MISMATCH;
    uint64_t bytes = used(gpu);
    *info = (MemoryInfoV2){info->version, gpu->nvml_total, gpu->nvml_total - gpu->total, gpu->total - bytes, bytes};
    return OK;
}

typedef struct { unsigned pid; uint64_t used; } ProcessInfoV1;
typedef struct { unsigned pid; uint64_t used; unsigned gpu_instance, compute_instance; } ProcessInfo;

enum { MOST_PROCESSES = MAX_PROCESSES + MAX_GPUS };

static unsigned processes(const Gpu *gpu, ProcessInfo *found)
{
    unsigned number = 0;
    world_reap();
    for (int i = 0; i < world()->num_gpus; i++) {
        const Gpu *part = &world()->gpus[i];
        if (!is_part(i, gpu)) continue;
        unsigned ids[] = {(unsigned)part->gpu_instance, (unsigned)part->compute_instance};
        if (part->foreign_pid && part->foreign)
            found[number++] = (ProcessInfo){(unsigned)part->foreign_pid, part->foreign, ids[0], ids[1]};
        for (int j = 0; j < MAX_PROCESSES && number < MOST_PROCESSES; j++) {
            const Process *process = &world()->processes[j];
            /* Of a process that has ended only the memory is still there. */
            if (process->pid && !process->leaves && (uint32_t)process->contexts & 1u << i)
                found[number++] = (ProcessInfo){(unsigned)process->pid, process->held[i], ids[0], ids[1]};
        }
    }
    return number;
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(const Gpu *gpu, unsigned *room, ProcessInfo *infos)
{
    ProcessInfo found[MOST_PROCESSES];
    USABLE(gpu);
    unsigned number = processes(gpu, found), before = *room;
    *room = number;
    if (number > before) return TOO_SMALL;
    if (number) memcpy(infos, found, number * sizeof *found);
    return OK;
}

EXPORT int nvmlDeviceGetComputeRunningProcesses_v2(const Gpu *gpu, unsigned *room, ProcessInfo *infos)
{
    return nvmlDeviceGetComputeRunningProcesses_v3(gpu, room, infos);
}

/* The first version of it, by which torch asks: without the ids of instances. */
EXPORT int nvmlDeviceGetComputeRunningProcesses(const Gpu *gpu, unsigned *room, ProcessInfoV1 *infos)
{
    ProcessInfo found[MOST_PROCESSES];
    USABLE(gpu);
    unsigned number = processes(gpu, found), before = *room;
    *room = number;
    if (number > before) return TOO_SMALL;
    for (unsigned i = 0; i < number; i++) infos[i] = (ProcessInfoV1){found[i].pid, found[i].used};
    return OK;
}

EXPORT int nvmlDeviceGetGraphicsRunningProcesses_v3(const Gpu *gpu, unsigned *room, ProcessInfo *infos)
{
    (void)infos;
    USABLE(gpu);
    *room = 0;
    return OK;
}
