/* NVML's answers on the health of a GPU: events, errors of its memory, and what slows it down. Also on links: there are none. */
#include "nvml.h"

#include <stdlib.h>
#include <time.h>

enum { POLICIES = 12 };

typedef struct { uint64_t position, types; uint32_t gpus; } EventSet;
typedef struct { Gpu *gpu; uint64_t type, data; unsigned gpu_instance, compute_instance; } EventData;

EXPORT int nvmlDeviceGetSupportedEventTypes(const Gpu *gpu, uint64_t *types)
{
    USABLE(gpu);
    *types = EVENT_ECC | EVENT_XID;
    return OK;
}

EXPORT int nvmlEventSetCreate(EventSet **set)
{
    *set = calloc(1, sizeof **set);
    if (!*set) abort();
    (*set)->position = world()->num_events;
    return OK;
}

EXPORT int nvmlEventSetFree(EventSet *set)
{
    free(set);
    return OK;
}

EXPORT int nvmlDeviceRegisterEvents(const Gpu *gpu, uint64_t types, EventSet *set)
{
    USABLE(gpu);
    set->types |= types;
    set->gpus |= 1u << index_of(gpu);
    return OK;
}

/* The next event of a set; 0 where there is none yet. */
static int next(EventSet *set, EventData *data)
{
    while (set->position < __atomic_load_n(&world()->num_events, __ATOMIC_ACQUIRE)) {
        const Event *event = &world()->events[set->position++ % MAX_EVENTS];
        if (!(event->type & set->types) || !(set->gpus & 1u << event->gpu)) continue;
        *data = (EventData){&world()->gpus[event->gpu], event->type, event->data, (unsigned)event->gpu_instance, (unsigned)-1};
        return 1;
    }
    return 0;
}

EXPORT int nvmlEventSetWait_v2(EventSet *set, EventData *data, unsigned milliseconds)
{
    const struct timespec pause = {0, 1000000};
    for (unsigned waited = 0; !next(set, data); waited++) {
        for (int i = 0; i < world()->num_gpus; i++)
            if (set->gpus & 1u << i) USABLE(&world()->gpus[i]);
        if (waited >= milliseconds) return TIMEOUT;
        nanosleep(&pause, NULL);
    }
    return OK;
}

EXPORT int nvmlDeviceGetTotalEccErrors(const Gpu *gpu, int kind, int since, uint64_t *number)
{
    (void)kind, (void)since;
    USABLE(gpu);
    *number = gpu->ecc_errors;
    return OK;
}

EXPORT int nvmlDeviceGetRemappedRows(const Gpu *gpu, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed)
{
    USABLE(gpu);
    *corrected = *uncorrected = 0;
    *pending = (unsigned)gpu->remap_pending;
    *failed = (unsigned)gpu->remap_failed;
    return OK;
}

typedef struct { uint64_t reference, violation; } Violation;

EXPORT int nvmlDeviceGetViolationStatus(const Gpu *gpu, int policy, Violation *status)
{
    USABLE(gpu);
    if (policy < 0 || policy >= POLICIES) return BAD_ARGUMENT;
    *status = (Violation){0, gpu->slow_nanoseconds[policy]};
    return OK;
}

EXPORT int nvmlDeviceGetCurrentClocksEventReasons(const Gpu *gpu, uint64_t *reasons)
{
    USABLE(gpu);
    *reasons = gpu->slow_reasons;
    return OK;
}

EXPORT int nvmlDeviceGetCurrentClocksThrottleReasons(const Gpu *gpu, uint64_t *reasons)
{
    return nvmlDeviceGetCurrentClocksEventReasons(gpu, reasons);
}

/* No GPU has a link to another one. */
EXPORT int nvmlDeviceGetNvLinkRemoteDeviceType(void) { return UNSUPPORTED; }
EXPORT int nvmlDeviceGetNvLinkRemotePciInfo_v2(void) { return UNSUPPORTED; }
EXPORT int nvmlDeviceGetNvLinkState(void) { return UNSUPPORTED; }
EXPORT int nvmlDeviceGetGpuFabricInfoV(void) { return UNSUPPORTED; }

EXPORT int nvmlDeviceGetP2PStatus(const Gpu *gpu, const Gpu *peer, int what, int *status)
{
    (void)peer, (void)what;
    USABLE(gpu);
    *status = 4; /* not supported */
    return OK;
}
