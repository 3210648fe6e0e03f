/* Keeps what each process needed of each GPU at most, also after its end: there is nobody to ask it then. */
#define _GNU_SOURCE
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static Peak *mine[MAX_GPUS];
static int higher[MAX_GPUS];
static void (*listener)(void);

static int raise_to(uint64_t *peak, uint64_t bytes)
{
    uint64_t seen = __atomic_load_n(peak, __ATOMIC_RELAXED);
    while (seen < bytes && !__atomic_compare_exchange_n(peak, &seen, bytes, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
    return seen < bytes;
}

void peaks_listen(void (*heard)(void)) { listener = heard; }

/* Launchers tell a process its rank by variables. */
static int32_t number_in(const char *variable)
{
    const char *text = getenv(variable);
    return text && *text ? (int32_t)atoi(text) : -1;
}

void peaks_forget(void)
{
    for (int gpu = 0; gpu < MAX_GPUS; gpu++) mine[gpu] = NULL;
}

/* Its caller holds the world's lock. */
void peaks_begin(int gpu, uint64_t held)
{
    World *found = world();
    uint64_t place = found->num_peaks;
    if (mine[gpu]) return;
    if (place < MAX_PEAKS) {
        found->peaks[place] = (Peak){
            .pid = getpid(), .gpu = gpu, .rank = number_in("RANK"), .local_rank = number_in("LOCAL_RANK"), .held = held};
        mine[gpu] = &found->peaks[place];
    }
    /* Who reads the file looks at the entry only after this. */
    __atomic_store_n(&found->num_peaks, place + 1, __ATOMIC_RELEASE);
}

void peaks_held(int gpu, uint64_t held, uint64_t used)
{
    raise_to(&world()->gpus[gpu].peak, used);
    if (!mine[gpu] || !raise_to(&mine[gpu]->held, held) || !listener) return;
    __atomic_store_n(&higher[gpu], 1, __ATOMIC_RELEASE);
    listener();
}

void peaks_where(const char *file, int line, const char *function, Phase phase)
{
    for (int gpu = 0; gpu < MAX_GPUS; gpu++) {
        if (!__atomic_exchange_n(&higher[gpu], 0, __ATOMIC_ACQ_REL) || !mine[gpu]) continue;
        Peak *peak = mine[gpu];
        peak->line = 0; /* who is killed in between has told nothing */
        snprintf(peak->file, sizeof peak->file, "%s", file);
        snprintf(peak->function, sizeof peak->function, "%s", function);
        peak->phase = (int32_t)phase;
        peak->line = line;
    }
}

void peaks_refused(int gpu)
{
    if (mine[gpu]) __atomic_add_fetch(&mine[gpu]->refused, 1, __ATOMIC_RELAXED);
}

void peaks_allocated(int gpu, uint64_t bytes)
{
    if (mine[gpu]) raise_to(&mine[gpu]->allocated, bytes);
}
