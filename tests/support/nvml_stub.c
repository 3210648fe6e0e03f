/* A libnvidia-ml.so.1 that answers from a text file, so that the tests run NVML's real Python binding.
 *
 * It must never reach the library path of a probe on a real GPU: torch's allocator asks NVML while it reports that
 * memory ran out, and would fail. Tests give it to a subprocess of theirs; see nvml_stub.py, which writes the file.
 *
 * $NVML_STUB_WORLD names the file. It is read by every nvmlInitWithFlags, so that a test can change the world while
 * a session is open; the devices stay where they are. One fact per line:
 *
 *   driver VERSION           fail FUNCTION CODE     (of all devices, or of the one before)
 *   cuda NUMBER              13000 for 13.0; without it NVML has no answer
 *   gpu                      begins a device;       instance begins a MIG instance of the GPU before
 *   name, uuid, bus TEXT     total, free, used, reserved BYTES     mode, mig, ecc, reasons, kinds, persistence NUMBER
 *   ids GPU-INSTANCE COMPUTE-INSTANCE               slot NUMBER     (where MIG has the instance)
 *   process compute|graphics PID BYTES|-1           remapped PENDING FAILED
 *   violation POLICY NANOSECONDS                    event TYPE DATA GPU-INSTANCE|-1; kinds are the types it knows
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND = 6, INSUFFICIENT_SIZE,
       TIMEOUT = 10, VERSION_MISMATCH = 25, UNKNOWN = 999 };
enum { DEVICES = 32, MANY = 64, TEXT = 96, POLICIES = 12, MIG_SLOTS = 7 };

typedef unsigned long long u64;
typedef struct { char function[TEXT]; int code; } Failure;
typedef struct { unsigned pid; u64 used; unsigned gpu_instance, compute_instance; } Process;
typedef struct { u64 type, data; unsigned gpu_instance; } Event;
typedef struct Device {
    struct Device *parent; /* of an instance */
    char name[TEXT], uuid[TEXT], bus[32];
    u64 total, free, used, reserved, ecc, reasons, kinds, violation[POLICIES];
    int violations, mode, mig, persistence, pending, failed, ids[2], slot, index, num_failures, num_events, num_processes[2];
    Failure failures[MANY];
    Process processes[2][MANY];
    Event events[MANY];
} Device;
typedef struct { Device *device; u64 type, data; unsigned gpu_instance, compute_instance; } EventData;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } PciInfo;
typedef struct { u64 total, free, used; } Memory;
typedef struct { unsigned version; u64 total, reserved, free, used; } MemoryV2;

static Device devices[DEVICES];
static Failure failures[MANY];
static int num_devices, num_failures, sessions, cuda;
static char driver[TEXT];
typedef struct { Device *device; u64 types; int made, delivered; } EventSet;
static EventSet event_sets[DEVICES];

static void read_fact(const char *key, const char *value, Device *d)
{
    u64 number = strtoull(value, NULL, 0), second = 0;
    char word[TEXT] = "";
    if (!strcmp(key, "driver")) snprintf(driver, TEXT, "%s", value);
    if (!strcmp(key, "cuda")) cuda = (int)number;
    if (!strcmp(key, "fail")) {
        Failure *f = d ? &d->failures[d->num_failures++] : &failures[num_failures++];
        sscanf(value, "%95s %d", f->function, &f->code);
    }
    if (!d) return;
    if (!strcmp(key, "name")) snprintf(d->name, TEXT, "%s", value);
    if (!strcmp(key, "uuid")) snprintf(d->uuid, TEXT, "%s", value);
    if (!strcmp(key, "bus")) snprintf(d->bus, sizeof d->bus, "%s", value);
    if (!strcmp(key, "total")) d->total = number;
    if (!strcmp(key, "free")) d->free = number;
    if (!strcmp(key, "used")) d->used = number;
    if (!strcmp(key, "reserved")) d->reserved = number;
    if (!strcmp(key, "ecc")) d->ecc = number;
    if (!strcmp(key, "reasons")) d->reasons = number;
    if (!strcmp(key, "kinds")) d->kinds = number;
    if (!strcmp(key, "mode")) d->mode = (int)number;
    if (!strcmp(key, "persistence")) d->persistence = (int)number;
    if (!strcmp(key, "mig")) d->mig = (int)number;
    if (!strcmp(key, "slot")) d->slot = (int)number;
    if (!strcmp(key, "ids")) sscanf(value, "%d %d", &d->ids[0], &d->ids[1]);
    if (!strcmp(key, "remapped")) sscanf(value, "%d %d", &d->pending, &d->failed);
    if (!strcmp(key, "violation") && sscanf(value, "%llu %llu", &number, &second) == 2) {
        d->violations = 1;
        d->violation[number] = second;
    }
    if (!strcmp(key, "process")) {
        int pid;
        long long bytes;
        sscanf(value, "%95s %d %lld", word, &pid, &bytes);
        int kind = !strcmp(word, "graphics");
        d->processes[kind][d->num_processes[kind]++] = (Process){(unsigned)pid, (u64)bytes, -1u, -1u};
    }
    if (!strcmp(key, "event")) {
        int instance;
        sscanf(value, "%llu %llu %d", &number, &second, &instance);
        d->events[d->num_events++] = (Event){number, second, (unsigned)instance};
    }
}

static int read_world(void)
{
    char line[512];
    const char *path = getenv("NVML_STUB_WORLD");
    FILE *file = path ? fopen(path, "r") : NULL;
    Device *device = NULL, *gpu = NULL;
    if (!file) return UNKNOWN;
    memset(devices, 0, sizeof devices);
    num_devices = num_failures = cuda = 0;
    int num_gpus = 0;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *value = strchr(line, ' ');
        if (value) *value++ = 0;
        if (!strcmp(line, "gpu")) {
            device = gpu = &devices[num_devices++];
            device->index = num_gpus++;
            device->kinds = 0x1b;
            device->persistence = 1;
        } else if (!strcmp(line, "instance")) {
            device = &devices[num_devices++];
            device->parent = gpu;
        } else if (value)
            read_fact(line, value, device);
    }
    fclose(file);
    return SUCCESS;
}

/* What a function has to return before it does anything: its failure, if the world has one. */
static int stopped(const char *function, const Device *d)
{
    if (!sessions) return UNINITIALIZED;
    for (int i = 0; i < num_failures; i++)
        if (!strcmp(failures[i].function, function)) return failures[i].code;
    for (int i = 0; d && i < d->num_failures; i++)
        if (!strcmp(d->failures[i].function, function)) return d->failures[i].code;
    return SUCCESS;
}

#define MAY(d) do { int code = stopped(__func__, d); if (code) return code; } while (0)
/* What NVML tells of physical GPUs only. */
#define PHYSICAL(d) do { MAY(d); if ((d)->parent) return NOT_SUPPORTED; } while (0)

static int active_instances(const Device *gpu)
{
    int count = 0;
    for (int i = 0; i < num_devices; i++) count += devices[i].parent == gpu;
    return count;
}

int nvmlInitWithFlags(unsigned flags)
{
    int code = read_world();
    (void)flags;
    sessions++;
    if (!code) code = stopped(__func__, NULL);
    if (code) sessions--;
    return code;
}

int nvmlShutdown(void) { MAY(NULL); sessions--; return SUCCESS; }

const char *nvmlErrorString(int code)
{
    static char text[TEXT];
    snprintf(text, TEXT, "error %d of the stub", code);
    return text;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) { MAY(NULL); snprintf(version, length, "%s", driver); return SUCCESS; }

int nvmlSystemGetCudaDriverVersion_v2(int *version) { MAY(NULL); *version = cuda; return cuda ? SUCCESS : NOT_SUPPORTED; }

int nvmlSystemGetProcessName(unsigned pid, char *name, unsigned length) { MAY(NULL); snprintf(name, length, "/bin/of-%u", pid); return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count)
{
    MAY(NULL);
    *count = 0;
    for (int i = 0; i < num_devices; i++) *count += !devices[i].parent;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device **found)
{
    for (int i = 0; i < num_devices; i++)
        if (!devices[i].parent && devices[i].index == (int)index) { MAY(&devices[i]); *found = &devices[i]; return SUCCESS; }
    return INVALID_ARGUMENT;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, Device **found)
{
    for (int i = 0; i < num_devices; i++)
        if (!strcmp(devices[i].uuid, uuid)) { MAY(&devices[i]); *found = &devices[i]; return SUCCESS; }
    MAY(NULL);
    return NOT_FOUND;
}

int nvmlDeviceGetName(Device *d, char *name, unsigned length) { MAY(d); snprintf(name, length, "%s", d->name); return SUCCESS; }

int nvmlDeviceGetUUID(Device *d, char *uuid, unsigned length) { MAY(d); snprintf(uuid, length, "%s", d->uuid); return SUCCESS; }

int nvmlDeviceGetPciInfo_v3(Device *d, PciInfo *info) { MAY(d); memset(info, 0, sizeof *info); memcpy(info->bus_id, d->bus, sizeof d->bus); return SUCCESS; }

int nvmlDeviceGetMemoryInfo(Device *d, Memory *memory) { MAY(d); *memory = (Memory){d->total, d->free, d->used + d->reserved}; return SUCCESS; }

int nvmlDeviceGetMemoryInfo_v2(Device *d, MemoryV2 *memory)
{
    MAY(d);
    if (memory->version != (sizeof *memory | 2 << 24)) return VERSION_MISMATCH;
    *memory = (MemoryV2){memory->version, d->total, d->reserved, d->free, d->used};
    return SUCCESS;
}

int nvmlDeviceGetComputeMode(Device *d, int *mode) { PHYSICAL(d); *mode = d->mode; return SUCCESS; }

int nvmlDeviceGetPersistenceMode(Device *d, int *mode) { PHYSICAL(d); *mode = d->persistence; return SUCCESS; }

int nvmlDeviceGetMigMode(Device *d, unsigned *current, unsigned *pending) { PHYSICAL(d); *current = *pending = (unsigned)d->mig; return SUCCESS; }

int nvmlDeviceGetMaxMigDeviceCount(Device *d, unsigned *count) { PHYSICAL(d); *count = MIG_SLOTS; return SUCCESS; }

int nvmlDeviceGetMigDeviceHandleByIndex(Device *d, unsigned slot, Device **found)
{
    PHYSICAL(d);
    for (int i = 0; i < num_devices; i++)
        if (devices[i].parent == d && devices[i].slot == (int)slot) { *found = &devices[i]; return SUCCESS; }
    return NOT_FOUND;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device *d, Device **found) { MAY(d); *found = d->parent; return d->parent ? SUCCESS : NOT_FOUND; }

int nvmlDeviceGetGpuInstanceId(Device *d, unsigned *id) { MAY(d); *id = (unsigned)d->ids[0]; return d->parent ? SUCCESS : NOT_SUPPORTED; }

int nvmlDeviceGetComputeInstanceId(Device *d, unsigned *id) { MAY(d); *id = (unsigned)d->ids[1]; return d->parent ? SUCCESS : NOT_SUPPORTED; }

static int copy_processes(const Device *d, int kind, unsigned *count, Process *into)
{
    unsigned room = *count;
    *count = (unsigned)d->num_processes[kind];
    if (room < *count) return INSUFFICIENT_SIZE;
    if (*count) memcpy(into, d->processes[kind], *count * sizeof *into);
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(Device *d, unsigned *count, Process *into) { MAY(d); return copy_processes(d, 0, count, into); }

int nvmlDeviceGetGraphicsRunningProcesses_v3(Device *d, unsigned *count, Process *into) { MAY(d); return copy_processes(d, 1, count, into); }

int nvmlDeviceGetTotalEccErrors(Device *d, int kind, int since, u64 *count)
{
    MAY(d);
    if (active_instances(d)) return NOT_SUPPORTED; /* as documented: volatile errors are counted per instance then */
    *count = kind == 1 && since == 0 ? d->ecc : 0;
    return SUCCESS;
}

int nvmlDeviceGetRemappedRows(Device *d, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed)
{
    PHYSICAL(d);
    if (active_instances(d)) return NOT_SUPPORTED;
    *corrected = *uncorrected = 0;
    *pending = (unsigned)d->pending;
    *failed = (unsigned)d->failed;
    return SUCCESS;
}

int nvmlDeviceGetViolationStatus(Device *d, int policy, u64 times[2])
{
    PHYSICAL(d);
    if (!d->violations) return NOT_SUPPORTED;
    times[0] = 0;
    times[1] = d->violation[policy];
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(Device *d, u64 *reasons) { PHYSICAL(d); *reasons = d->reasons; return SUCCESS; }

int nvmlDeviceGetCurrentClocksThrottleReasons(Device *d, u64 *reasons) { PHYSICAL(d); *reasons = d->reasons; return SUCCESS; }

int nvmlDeviceGetSupportedEventTypes(Device *d, u64 *types) { PHYSICAL(d); *types = d->kinds; return SUCCESS; }

/* One for each device at a time, so that a set that nobody frees is noticed. */
int nvmlEventSetCreate(void **set)
{
    MAY(NULL);
    for (int i = 0; i < num_devices; i++)
        if (!event_sets[i].made++) { *set = &event_sets[i]; return SUCCESS; }
    return UNKNOWN;
}

int nvmlEventSetFree(void *set) { MAY(NULL); memset(set, 0, sizeof(EventSet)); return SUCCESS; }

/* What happened before is not delivered. */
int nvmlDeviceRegisterEvents(Device *d, u64 types, void *set)
{
    EventSet *events = set;
    PHYSICAL(d);
    if (types & ~d->kinds) return NOT_SUPPORTED;
    events->device = d;
    events->types = types;
    events->delivered = d->num_events;
    return SUCCESS;
}

int nvmlEventSetWait_v2(void *set, EventData *data, unsigned milliseconds)
{
    EventSet *events = set;
    Device *d = events->device;
    (void)milliseconds;
    MAY(d);
    while (d && events->delivered < d->num_events) {
        Event event = d->events[events->delivered++];
        if (!(event.type & events->types)) continue;
        *data = (EventData){d, event.type, event.data, event.gpu_instance, -1u};
        return SUCCESS;
    }
    return TIMEOUT;
}
