/* Starts CUDA in this process, makes contexts, and keeps errors. */
#define _GNU_SOURCE
#include "process.h"

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int indexes[MAX_GPUS], number, started, forked, poisoned, reported, contexts[MAX_GPUS];
static __thread int current, last;

static void after_fork(void) { forked = started; }

static void start(void)
{
    pthread_atfork(NULL, NULL, after_fork);
    number = world() ? visible_devices(indexes) : 0;
    started = 1;
}

int begin(void)
{
    if (forked) return NOT_INITIALIZED;
    pthread_once(&once, start);
    return number ? SUCCESS : NO_DEVICE;
}

static int make_context(int device)
{
    if (gpu_of(device)->compute_mode == 2) return DEVICES_UNAVAILABLE;
    int code = strikes(FAULT_CONTEXT, device);
    if (code) return code;
    if (!world_take(world_index(device), gpu_of(device)->context)) return OUT_OF_MEMORY;
    world_context(world_index(device));
    static int watched;
    if (!watched++) watch_python();
    __atomic_store_n(&contexts[device], 1, __ATOMIC_RELEASE);
    return SUCCESS;
}

int ready_on(int device)
{
    int code = begin();
    if (code) return code;
    if (poisoned) {
        reported = 1;
        return poisoned;
    }
    if (__atomic_load_n(&contexts[device], __ATOMIC_ACQUIRE)) return SUCCESS;
    pthread_mutex_lock(&guard);
    code = contexts[device] ? SUCCESS : make_context(device);
    pthread_mutex_unlock(&guard);
    return code;
}

int ready(void) { return ready_on(current); }
int is_ready(int device) { return !forked && contexts[device]; }
int num_devices(void) { return number; }
int current_device(void) { return current; }
void set_current_device(int device) { current = device; }
int valid_device(int device) { return device >= 0 && device < number; }
int world_index(int device) { return indexes[device]; }
Gpu *gpu_of(int device) { return &world()->gpus[indexes[device]]; }

int failed(int code)
{
    if (code) last = code;
    return code;
}

int last_error(int forget)
{
    /* Who asks right behind a launch is too early for a kernel that fails while it runs. */
    int code = reported ? poisoned : last;
    if (forget) last = SUCCESS;
    return code;
}

void poison(int code) { poisoned = code; }

int strikes(FaultKind kind, int device)
{
    int sticky = 0, code = world_strikes(kind, world_index(device), &sticky);
    if (code && sticky) poison(code);
    return code;
}
