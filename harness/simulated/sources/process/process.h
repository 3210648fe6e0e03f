/* This process: the GPUs that CUDA shows it, its contexts, and errors that stay. */
#ifndef PROCESS_H
#define PROCESS_H

#include "world.h"

#define EXPORT __attribute__((visibility("default")))

/* The runtime's and the driver's codes agree on these. */
enum {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, DEVICES_UNAVAILABLE = 46, NO_DEVICE = 100,
    INVALID_DEVICE = 101, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, LAUNCH_TIMEOUT = 702,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900
};

typedef struct { unsigned x, y, z; } Dim3;

/* Start CUDA as its first call does, without a context; return a code. A fork of a process that did so fails for good. */
int begin(void);
/* Make sure that the current device has a context; return a code. */
int ready(void);
int ready_on(int device);
int is_ready(int device);
int num_devices(void);
int current_device(void);
void set_current_device(int device);
int valid_device(int device);
/* The index in the world of a device of this process. */
int world_index(int device);
Gpu *gpu_of(int device);
/* The sixteen bytes of a UUID that is given as GPU-… or MIG-…. */
void read_uuid(const char *text, char *bytes);
int threads_per_multiprocessor(const Gpu *gpu);
/* Remember a code as this thread's last error, and return it. */
int failed(int code);
int last_error(int forget);
/* Count a call that may have to fail; return its code. */
int strikes(FaultKind kind, int device);
/* Have all later calls of this process fail. */
void poison(int code);

/* python.c: where GPU_PROFILE_SIMULATED_INSIDE names a module, have Python run it, and tell where it is at each peak. */
void watch_python(void);

/* Fill in the indexes of the world's GPUs that CUDA shows a process; return their number. */
int visible_devices(int *indexes);

#define READY do { int code_ = ready(); if (code_) return failed(code_); } while (0)
/* The same in a function of the driver, whose codes are no error of the runtime's. */
#define DRIVER_READY do { int code_ = ready(); if (code_) return code_; } while (0)
#define BEGIN do { int code_ = begin(); if (code_) return failed(code_); } while (0)
/* The device that the call names. */
#define OF_DEVICE(device) \
    do { BEGIN; if (!valid_device(device)) return failed(INVALID_DEVICE); } while (0)

#endif
