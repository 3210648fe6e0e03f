/* Which GPUs CUDA shows a process: CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER and MIG.
 *
 * The world's GPUs stand in the order of their PCI bus ids, the instances of one in MIG mode behind it.
 */
#define _GNU_SOURCE
#include "process.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first driver that enumerates several MIG instances. */
enum { SEVERAL_INSTANCES = 570 };

static int is_instance(int index) { return world()->gpus[index].parent != NO_GPU; }

static int speed(int index)
{
    Gpu *gpu = &world()->gpus[index];
    return (gpu->major * 10 + gpu->minor) * 1000 + gpu->sm_count;
}

/* All that can be chosen, in CUDA's order: the fastest first, or by PCI bus id. */
static int ordered(int *found)
{
    const char *order = getenv("CUDA_DEVICE_ORDER");
    int number = 0, fastest_first = !order || strcmp(order, "PCI_BUS_ID");
    for (int index = 0; index < world()->num_gpus; index++) {
        if (world()->gpus[index].mig_mode && !is_instance(index)) continue;
        int place = number++;
        for (; fastest_first && place > 0 && speed(found[place - 1]) < speed(index); place--)
            found[place] = found[place - 1];
        found[place] = index;
    }
    return number;
}

/* Without the variable, one compute instance of each GPU instance is shown. */
static int without_twins(const int *all, int number, int *found)
{
    int shown = 0;
    for (int i = 0; i < number; i++) {
        Gpu *gpu = &world()->gpus[all[i]];
        int twin = 0;
        for (int j = 0; j < shown && is_instance(all[i]); j++) {
            Gpu *other = &world()->gpus[found[j]];
            twin |= other->parent == gpu->parent && other->gpu_instance == gpu->gpu_instance;
        }
        if (!twin) found[shown++] = all[i];
    }
    return shown;
}

static int begins(const char *text, const char *beginning) { return !strncasecmp(text, beginning, strlen(beginning)); }

static int has_older_name(int index, const char *entry)
{
    char name[2 * TEXT];
    Gpu *gpu = &world()->gpus[index];
    if (!is_instance(index)) return 0;
    snprintf(name, sizeof name, "MIG-%s/%d/%d", world()->gpus[gpu->parent].uuid, gpu->gpu_instance, gpu->compute_instance);
    return !strcasecmp(name, entry);
}

/* The one GPU that an entry means; NO_GPU where it means none or more than one. */
static int meant(const char *entry, const int *all, int number)
{
    int found = NO_GPU;
    if (begins(entry, "GPU-") || begins(entry, "MIG-")) {
        for (int i = 0; i < number; i++) {
            if (!begins(world()->gpus[all[i]].uuid, entry) && !has_older_name(all[i], entry)) continue;
            if (found != NO_GPU) return NO_GPU;
            found = all[i];
        }
        return found;
    }
    if (*entry == '+') entry++;
    if (!isdigit((unsigned char)*entry)) return NO_GPU;
    long index = strtol(entry, NULL, 10);
    return index < number ? all[index] : NO_GPU;
}

static int chosen(const char *list, const int *all, int number, int *found)
{
    char copy[4096], *rest = copy, *entry;
    int shown = 0;
    snprintf(copy, sizeof copy, "%s", list);
    while ((entry = strsep(&rest, ","))) {
        while (isspace((unsigned char)*entry)) entry++;
        for (char *end = entry + strlen(entry); end > entry && isspace((unsigned char)end[-1]);) *--end = 0;
        int index = meant(entry, all, number);
        if (index == NO_GPU) break; /* CUDA ignores the rest */
        for (int i = 0; i < shown; i++)
            if (found[i] == index) return 0; /* given twice: CUDA shows nothing */
        found[shown++] = index;
    }
    return shown;
}

int visible_devices(int *indexes)
{
    int all[MAX_GPUS], number = ordered(all);
    const char *list = getenv("CUDA_VISIBLE_DEVICES");
    number = list ? chosen(list, all, number, indexes) : without_twins(all, number, indexes);
    if (atoi(world()->driver) >= SEVERAL_INSTANCES) return number;
    for (int i = 0; i < number; i++) {
        if (!is_instance(indexes[i])) continue;
        indexes[0] = indexes[i]; /* an older driver shows one instance, and then nothing else */
        return 1;
    }
    return number;
}
