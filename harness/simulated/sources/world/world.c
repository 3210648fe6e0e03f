/* Maps the world, counts what this process holds, and forgets the processes that have ended. */
#define _GNU_SOURCE
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static World *mapped;
static Process *mine;
static uint64_t seen_here[MAX_FAULTS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(((World *)0)->mutex), "a mutex has its place");

static pthread_mutex_t *mutex(void) { return (pthread_mutex_t *)mapped->mutex; }

static void lock(void)
{
    /* Its owner was killed: what it left is consistent, because each number is written in one piece. */
    if (pthread_mutex_lock(mutex()) == EOWNERDEAD) pthread_mutex_consistent(mutex());
}

static void unlock(void) { pthread_mutex_unlock(mutex()); }

/* The child of a fork is another process: it holds nothing yet. */
static void after_fork(void)
{
    mine = NULL;
    peaks_forget();
    memset(seen_here, 0, sizeof seen_here);
}

static void make_mutex(int file)
{
    /* Two processes may map a new world at once. The file's lock goes with a process that is killed here. */
    flock(file, LOCK_EX);
    if (!mapped->mutex_made) {
        pthread_mutexattr_t kind;
        pthread_mutexattr_init(&kind);
        pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(mutex(), &kind);
        pthread_mutexattr_destroy(&kind);
        mapped->mutex_made = 1;
    }
    flock(file, LOCK_UN);
}

static void map(void)
{
    const char *path = getenv("GPU_PROFILE_SIMULATED_WORLD");
    if (!path) return;
    int file = open(path, O_RDWR | O_CLOEXEC);
    struct stat facts;
    if (file < 0 || fstat(file, &facts)) {
        fprintf(stderr, "simulated GPU: the world %s cannot be opened: %s\n", path, strerror(errno));
        if (file >= 0) close(file);
        return;
    }
    World *found = facts.st_size == sizeof(World)
        ? mmap(NULL, sizeof(World), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
    if (found != MAP_FAILED && found->magic == WORLD_MAGIC && found->version == WORLD_VERSION
        && found->size == sizeof(World)) {
        mapped = found;
        make_mutex(file);
        pthread_atfork(NULL, NULL, after_fork);
    } else {
        fprintf(stderr, "simulated GPU: %s is not a world of this version: make it anew\n", path);
    }
    close(file);
}

World *world(void)
{
    pthread_once(&once, map);
    return mapped;
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* When a process was started, by the kernel's clock; 0 where it has ended. */
static uint64_t start_of(int pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) return 0;
    text[length] = 0;
    char *rest = strrchr(text, ')'); /* the name before it may hold anything */
    char state;
    unsigned long long started;
    if (!rest || sscanf(rest + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                        &state, &started) != 2)
        return 0;
    /* Whom the kernel only keeps until the parent has asked has given its memory back. */
    return state == 'Z' || state == 'X' ? 0 : started;
}

uint64_t world_started(void) { return start_of(getpid()); }
int world_lives(int pid, uint64_t started) { return start_of(pid) == started; }

static void forget(Process *process)
{
    memset(process->held, 0, sizeof process->held);
    process->contexts = 0;
    process->leaves = 0;
    __atomic_store_n(&process->pid, 0, __ATOMIC_RELEASE);
}

static void reap(void)
{
    for (int i = 0; i < MAX_PROCESSES; i++) {
        Process *process = &mapped->processes[i];
        if (!process->pid || process == mine) continue;
        if (!process->leaves && start_of(process->pid) == process->started) continue;
        if (mapped->late && !process->leaves) process->leaves = now() + mapped->late;
        if (process->leaves <= now()) forget(process);
    }
}

void world_reap(void)
{
    lock();
    reap();
    unlock();
}

uint64_t world_used(int gpu)
{
    uint64_t used = __atomic_load_n(&mapped->gpus[gpu].foreign, __ATOMIC_RELAXED);
    for (int i = 0; i < MAX_PROCESSES; i++)
        used += __atomic_load_n(&mapped->processes[i].held[gpu], __ATOMIC_RELAXED);
    return used;
}

/* The slot of this process; NULL where all are taken. */
static Process *slot(void)
{
    if (mine) return mine;
    /* A program that this process ran before, and replaced, has given back what it held. */
    for (int i = 0; i < MAX_PROCESSES; i++)
        if (mapped->processes[i].pid == getpid()) forget(&mapped->processes[i]);
    for (int attempt = 0; attempt < 2; attempt++) {
        for (int i = 0; i < MAX_PROCESSES; i++) {
            Process *process = &mapped->processes[i];
            if (process->pid) continue;
            process->started = start_of(getpid());
            __atomic_store_n(&process->pid, getpid(), __ATOMIC_RELEASE);
            return mine = process;
        }
        reap();
    }
    fprintf(stderr, "simulated GPU: more than %d processes use it\n", MAX_PROCESSES);
    return NULL;
}

int world_take(int gpu, uint64_t bytes)
{
    lock();
    Process *process = slot();
    uint64_t total = mapped->gpus[gpu].total;
    if (world_used(gpu) + bytes > total) reap();
    int fits = process && world_used(gpu) + bytes <= total;
    if (fits) {
        uint64_t held = __atomic_add_fetch(&process->held[gpu], bytes, __ATOMIC_RELAXED);
        peaks_held(gpu, held, world_used(gpu));
    } else if (process) {
        /* It may be the context that finds no room. */
        peaks_begin(gpu, process->held[gpu]);
        peaks_refused(gpu);
    }
    unlock();
    return fits;
}

void world_give(int gpu, uint64_t bytes)
{
    if (mine) __atomic_sub_fetch(&mine->held[gpu], bytes, __ATOMIC_RELAXED);
}

void world_context(int gpu)
{
    if (!mine) return;
    __atomic_or_fetch(&mine->contexts, (int32_t)(1u << gpu), __ATOMIC_RELAXED);
    lock();
    peaks_begin(gpu, mine->held[gpu]);
    unlock();
}

void world_event(uint64_t type, uint64_t data, int gpu)
{
    int physical = mapped->gpus[gpu].parent == NO_GPU ? gpu : mapped->gpus[gpu].parent;
    lock();
    mapped->events[mapped->num_events % MAX_EVENTS] =
        (Event){type, data, physical, mapped->gpus[gpu].gpu_instance};
    __atomic_add_fetch(&mapped->num_events, 1, __ATOMIC_RELEASE);
    unlock();
}

int world_strikes(FaultKind kind, int gpu, int *sticky)
{
    uint64_t number = __atomic_load_n(&mapped->num_faults, __ATOMIC_ACQUIRE);
    for (uint64_t i = 0; i < number && i < MAX_FAULTS; i++) {
        Fault *fault = &mapped->faults[i];
        if (fault->kind != (int)kind || (fault->gpu != NO_GPU && fault->gpu != gpu)) continue;
        uint64_t *counter = fault->each_process ? &seen_here[i] : &fault->seen;
        uint64_t seen = __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
        if (seen < fault->nth || (fault->times && seen >= fault->nth + fault->times)) continue;
        if (fault->xid) world_event(EVENT_XID, (uint64_t)fault->xid, gpu);
        if (fault->neighbour) __atomic_add_fetch(&mapped->gpus[gpu].foreign, fault->neighbour, __ATOMIC_RELAXED);
        if (!fault->code) continue;
        *sticky = fault->sticky;
        return fault->code;
    }
    return 0;
}
