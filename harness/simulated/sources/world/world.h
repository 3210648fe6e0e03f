/* The world: a file that all processes map, with the GPUs of a machine and what each process holds there.
 *
 * `world.py` writes the file and has the same layouts; `tests/simulated/test_world.py` compares the sizes. All
 * numbers stand at their natural alignment. What a process holds stands in its own slot and nowhere else, so a
 * process that is killed at any moment leaves nothing behind but a slot whose process is gone.
 */
#ifndef WORLD_H
#define WORLD_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum { WORLD_MAGIC = 0x53475055, WORLD_VERSION = 3 };
enum { MAX_GPUS = 32, MAX_PROCESSES = 512, MAX_FAULTS = 64, MAX_EVENTS = 256, MAX_PEAKS = 1024, TEXT = 96 };
enum { FILE_TEXT = 256, FUNCTION_TEXT = 64 };
enum { NO_GPU = -1 };
/* NVIDIA's cuDNN says what a convolution asks for. */
#define WORKSPACE_OF_CUDNN UINT64_MAX

typedef struct {
    char name[TEXT];
    char uuid[TEXT];
    char bus_id[32];
    char foreign_name[TEXT];
    uint64_t total;         /* as CUDA sees it */
    uint64_t nvml_total;    /* as NVML reports it: more by what driver and firmware keep */
    uint64_t context;       /* what a process's context takes */
    uint64_t foreign;       /* what others hold */
    uint64_t workspace;     /* what each convolution asks for, or WORKSPACE_OF_CUDNN */
    uint64_t peak;          /* the most that was in use at once, by everybody */
    uint64_t ecc_errors;
    uint64_t slow_reasons;  /* bits of the reasons why clocks are low */
    uint64_t slow_nanoseconds[12]; /* by policy */
    int32_t foreign_pid;
    int32_t major, minor;
    int32_t sm_count;
    int32_t parent;         /* of a MIG instance: the index of its GPU; NO_GPU */
    int32_t gpu_instance, compute_instance, mig_slot;
    int32_t mig_mode;
    int32_t compute_mode;
    int32_t nvml_error;     /* what every question about this GPU is answered with; 0 */
    int32_t remap_pending, remap_failed;
    int32_t workspaces_unknown; /* whether cuDNN was to say them, and could not */
} Gpu;

typedef struct {
    int32_t pid;            /* 0: free */
    int32_t contexts;       /* a bit for each GPU on which the process has a context */
    uint64_t started;       /* of the process, so that a later one with this id is another one */
    uint64_t leaves;        /* when the memory of a process that ended comes back; 0: it was not seen yet */
    uint64_t held[MAX_GPUS];
} Process;

typedef struct {
    int32_t pid, gpu;
    int32_t rank, local_rank; /* -1: no launcher told one */
    uint64_t held;          /* the most that the process held on the GPU, its context included */
    uint64_t allocated;     /* the most that torch's tensors had; 0: its allocator does not tell */
    uint64_t refused;       /* allocations that did not fit */
    int32_t line, phase;    /* where the program was when it held the most; 0: nobody has looked */
    char file[FILE_TEXT], function[FUNCTION_TEXT];
} Peak;

typedef enum { NO_PHASE, FORWARD_PASS, BACKWARD_PASS, OPTIMIZER_STEP } Phase;

typedef enum {
    FAULT_ALLOCATION, FAULT_MAPPING, FAULT_PINNED, FAULT_CONTEXT, FAULT_CUBLAS, FAULT_CUBLASLT, FAULT_CUDNN,
    FAULT_CUSOLVER, FAULT_LAUNCH, FAULT_ENGINE
} FaultKind;

typedef struct {
    int32_t kind;
    int32_t code;           /* 0: the call succeeds */
    int32_t gpu;            /* NO_GPU: any */
    int32_t sticky;         /* whether all later calls of the process fail, too */
    int32_t each_process;   /* whether every process counts for itself */
    int32_t xid;            /* what NVML tells of it; 0: nothing */
    uint64_t nth, times;    /* the first call that fails, and how many do; 0: all from there on */
    uint64_t neighbour;     /* bytes that a neighbour takes then */
    uint64_t seen;
} Fault;

typedef struct { uint64_t type, data; int32_t gpu, gpu_instance; } Event;

typedef struct {
    uint32_t magic, version, size;
    int32_t num_gpus;
    char driver[32];
    int32_t cuda_version;
    int32_t mutex_made;
    uint64_t late;          /* nanoseconds until the memory of a process that ended is free */
    uint64_t num_faults, num_events, num_peaks;
    uint64_t mutex[8];
    Gpu gpus[MAX_GPUS];
    Fault faults[MAX_FAULTS];
    Event events[MAX_EVENTS];
    Process processes[MAX_PROCESSES];
    Peak peaks[MAX_PEAKS];
} World;

/* The world of this process; NULL where there is none. */
World *world(void);
/* Bytes that are in use on a GPU, by everybody. */
uint64_t world_used(int gpu);
/* Count bytes as held by this process; 0 where they do not fit. */
int world_take(int gpu, uint64_t bytes);
void world_give(int gpu, uint64_t bytes);
void world_context(int gpu);
/* Count a call, and return the code that it shall fail with; 0. Tells by `sticky` whether that stays. */
int world_strikes(FaultKind kind, int gpu, int *sticky);
void world_event(uint64_t type, uint64_t data, int gpu);
/* When this process was started, by the kernel's clock; whether one that was started then still runs. */
uint64_t world_started(void);
int world_lives(int pid, uint64_t started);
/* Forget the processes that have ended, as far as their memory is back. */
void world_reap(void);

/* peaks.c: begin the entry of this process on a GPU, and raise what it has. */
void peaks_begin(int gpu, uint64_t held);
void peaks_held(int gpu, uint64_t held, uint64_t used);
void peaks_refused(int gpu);
void peaks_allocated(int gpu, uint64_t bytes);
/* The child of a fork is another process. */
void peaks_forget(void);
/* Have a function called whenever a peak of this process rises. It may hold locks of its allocator then. */
void peaks_listen(void (*heard)(void));
/* Where the program was when it reached the peaks that it has reached since the last call. */
void peaks_where(const char *file, int line, const char *function, Phase phase);

enum { EVENT_ECC = 2, EVENT_XID = 8 };

#endif
