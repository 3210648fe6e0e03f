/* What the parts of the NVML library share. */
#ifndef NVML_H
#define NVML_H

#include "world.h"

#define EXPORT __attribute__((visibility("default")))

/* nvmlReturn_t. */
enum { OK, UNINITIALIZED, BAD_ARGUMENT, UNSUPPORTED, NO_PERMISSION, NOT_THERE = 6, TOO_SMALL = 7, NO_DRIVER = 9, TIMEOUT = 10,
       VERSION_MISMATCH = 25 };

/* How many programs of this process have opened NVML. */
extern int nvml_sessions;

#define OPENED do { if (!nvml_sessions) return UNINITIALIZED; } while (0)
/* A GPU that is lost answers every question with that. */
#define USABLE(gpu) do { OPENED; if (!(gpu)) return BAD_ARGUMENT; if ((gpu)->nvml_error) return (gpu)->nvml_error; } while (0)

static inline int is_instance(const Gpu *gpu) { return gpu->parent != NO_GPU; }
static inline int index_of(const Gpu *gpu) { return (int)(gpu - world()->gpus); }
static inline const Gpu *physical(const Gpu *gpu) { return is_instance(gpu) ? &world()->gpus[gpu->parent] : gpu; }

#endif
