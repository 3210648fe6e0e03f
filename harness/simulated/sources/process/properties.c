/* The properties of a device, in the layouts of CUDA 12 and 13. */
#define _GNU_SOURCE
#include "process.h"

#include <stdio.h>
#include <string.h>

/* What compute capabilities differ in: CUDA C++ programming guide, "Technical specifications per compute capability".
 * Caches as the products with the most memory have them. */
typedef struct { int capability, threads, blocks, shared, shared_optin, l2, bus_bits; } Architecture;

static const Architecture ARCHITECTURES[] = {
    {70, 2048, 32, 96 << 10, 96 << 10, 6 << 20, 4096},     {75, 1024, 16, 64 << 10, 64 << 10, 4 << 20, 256},
    {80, 2048, 32, 164 << 10, 163 << 10, 40 << 20, 5120},  {86, 1536, 16, 100 << 10, 99 << 10, 6 << 20, 384},
    {89, 1536, 24, 100 << 10, 99 << 10, 72 << 20, 384},    {90, 2048, 32, 228 << 10, 227 << 10, 50 << 20, 5120},
    {100, 2048, 32, 228 << 10, 227 << 10, 126 << 20, 8192}, {120, 1536, 24, 100 << 10, 99 << 10, 96 << 20, 512},
};

static const Architecture *architecture(const Gpu *gpu)
{
    const Architecture *found = ARCHITECTURES;
    for (size_t i = 0; i < sizeof ARCHITECTURES / sizeof *ARCHITECTURES; i++)
        if (ARCHITECTURES[i].capability <= gpu->major * 10 + gpu->minor) found = &ARCHITECTURES[i];
    return found;
}

int threads_per_multiprocessor(const Gpu *gpu) { return architecture(gpu)->threads; }

typedef struct {
    char name[256], uuid[16], luid[8];
    unsigned luid_node_mask;
    size_t total, shared_per_block;
    int registers_per_block, warp;
    size_t pitch;
    int threads_per_block, block[3], grid[3];
#if RUNTIME_VERSION < 13000
    int clock;
#endif
    size_t constant;
    int major, minor;
    size_t texture_alignment, texture_pitch_alignment;
#if RUNTIME_VERSION < 13000
    int overlap;
#endif
    int multiprocessors;
#if RUNTIME_VERSION < 13000
    int timeout;
#endif
    int integrated, maps_host;
#if RUNTIME_VERSION < 13000
    int compute_mode;
#endif
    int textures_1d[2];
#if RUNTIME_VERSION < 13000
    int texture_1d_linear;
#endif
    int textures[23], surfaces[14];
    size_t surface_alignment;
    int concurrent, ecc, bus, slot, domain, tcc, engines, unified;
#if RUNTIME_VERSION < 13000
    int memory_clock;
#endif
    int bus_bits, l2, persisting_l2, threads, priorities, l1_global, l1_local;
    size_t shared;
    int registers, managed, board, board_group, atomics;
#if RUNTIME_VERSION < 13000
    int double_ratio;
#endif
    int pageable, managed_at_once, preemption, registered_pointers, cooperative;
#if RUNTIME_VERSION < 13000
    int cooperative_devices;
#endif
    size_t shared_optin;
    int host_tables, managed_from_host, blocks, window;
    size_t reserved_shared;
    int host_register, sparse, register_read_only, timeline, pools, rdma;
    unsigned rdma_flush;
    int rdma_ordering;
    unsigned pool_handles;
    int deferred, ipc_events, clusters, unified_functions, rest[62];
} Properties;

/* Sizes and places of CUDA 12's and CUDA 13's structures. */
_Static_assert(sizeof(Properties) == (RUNTIME_VERSION < 13000 ? 1032 : 1008), "the size is the runtime's");
_Static_assert(offsetof(Properties, surface_alignment) == (RUNTIME_VERSION < 13000 ? 568 : 552), "the layout, too");
_Static_assert(offsetof(Properties, shared_optin) == (RUNTIME_VERSION < 13000 ? 696 : 672), "the layout, too");
_Static_assert(offsetof(Properties, clusters) == (RUNTIME_VERSION < 13000 ? 772 : 748), "the layout, too");

void read_uuid(const char *text, char *bytes)
{
    const char *digits = strchr(text, '-');
    for (int i = 0; digits && i < 16; i++) {
        unsigned value = 0;
        while (*digits == '-') digits++;
        if (sscanf(digits, "%2x", &value) != 1) break;
        bytes[i] = (char)value;
        digits += 2;
    }
}

static int properties(Properties *p, int device)
{
    OF_DEVICE(device);
    const Gpu *gpu = gpu_of(device);
    const Architecture *made = architecture(gpu);
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "%s", gpu->name);
    read_uuid(gpu->uuid, p->uuid);
    p->total = gpu->total;
    p->shared_per_block = 48 << 10;
    p->registers_per_block = p->registers = 64 << 10;
    p->warp = 32;
    p->pitch = 0x7fffffff;
    p->threads_per_block = p->block[0] = p->block[1] = 1024;
    p->block[2] = 64;
    p->grid[0] = 0x7fffffff;
    p->grid[1] = p->grid[2] = 65535;
    p->constant = 64 << 10;
    p->major = gpu->major;
    p->minor = gpu->minor;
    p->texture_alignment = p->surface_alignment = 512;
    p->texture_pitch_alignment = 32;
    p->multiprocessors = gpu->sm_count;
    p->maps_host = p->concurrent = p->ecc = p->unified = p->priorities = p->l1_global = p->l1_local = 1;
    sscanf(gpu->bus_id, "%x:%x:%x", (unsigned *)&p->domain, (unsigned *)&p->bus, (unsigned *)&p->slot);
    p->engines = 3;
    p->bus_bits = made->bus_bits;
    p->l2 = made->l2;
    p->threads = made->threads;
    p->blocks = made->blocks;
    p->shared = (size_t)made->shared;
    p->shared_optin = (size_t)made->shared_optin;
    p->reserved_shared = 1 << 10;
    p->managed = p->managed_at_once = p->preemption = p->registered_pointers = p->cooperative = 1;
    p->host_register = p->pools = p->ipc_events = p->unified_functions = 1;
    p->clusters = gpu->major >= 9;
    return SUCCESS;
}

#if RUNTIME_VERSION >= 13000 /* CUDA 12 has a shorter structure under this name */
EXPORT int cudaGetDeviceProperties(Properties *p, int device) { return properties(p, device); }
#endif
EXPORT int cudaGetDeviceProperties_v2(Properties *p, int device) { return properties(p, device); }

/* The runtime's and the driver's attributes have the same numbers. */
static int attribute(int number, int device)
{
    Properties p;
    if (properties(&p, device)) return 0;
    switch (number) {
    case 1: return p.threads_per_block;
    case 2: case 3: return p.block[0];
    case 4: return p.block[2];
    case 5: return p.grid[0];
    case 6: case 7: return p.grid[1];
    case 8: return (int)p.shared_per_block;
    case 9: return (int)p.constant;
    case 10: return p.warp;
    case 11: return (int)p.pitch;
    case 12: return p.registers_per_block;
    case 13: return 1980000; /* kHz: an H100's; nothing is timed by it */
    case 14: return (int)p.texture_alignment;
    case 16: return p.multiprocessors;
    case 20: return gpu_of(device)->compute_mode;
    case 33: return p.bus;
    case 34: return p.slot;
    case 36: return 2619000;
    case 37: return p.bus_bits;
    case 38: return p.l2;
    case 39: return p.threads;
    case 40: return p.engines;
    case 50: return p.domain;
    case 75: return p.major;
    case 76: return p.minor;
    case 81: return (int)p.shared;
    case 82: return p.registers;
    case 97: return (int)p.shared_optin;
    case 106: return p.blocks;
    case 111: return (int)p.reserved_shared;
    case 120: return p.clusters;
    /* Whether it can: map the host's memory, run kernels side by side, correct errors, … */
    case 15: case 19: case 31: case 32: case 41: case 78: case 79: case 80: case 83: case 89: case 90: case 91: case 95:
    case 99: case 102: case 103: case 115: case 125: return 1;
    default: return 0;
    }
}

EXPORT int cudaDeviceGetAttribute(int *value, int number, int device)
{
    OF_DEVICE(device);
    *value = attribute(number, device);
    return SUCCESS;
}

EXPORT int cuDeviceGetAttribute(int *value, int number, int device)
{
    int code = begin();
    if (code) return code;
    if (!valid_device(device)) return INVALID_DEVICE;
    *value = attribute(number, device);
    return SUCCESS;
}
