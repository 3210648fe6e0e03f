/* A sorted table of address ranges. */
#define _GNU_SOURCE
#include "blocks.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static Block *blocks;
static size_t number, room;

size_t rounded(size_t bytes, size_t step) { return bytes ? (bytes + step - 1) / step * step : step; }

void *reserve(size_t bytes, int touchable)
{
    /* Without permissions a range counts nowhere, whatever the kernel allows to be promised. */
    int allowed = touchable ? PROT_READ | PROT_WRITE : PROT_NONE;
    void *start = mmap(NULL, bytes, allowed, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return start == MAP_FAILED ? NULL : start;
}

/* How many blocks begin at an address or before it. */
static size_t before(const char *address)
{
    size_t low = 0, high = number;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (blocks[middle].start <= address) low = middle + 1;
        else high = middle;
    }
    return low;
}

void blocks_add(void *start, size_t size, BlockKind kind, int device)
{
    pthread_mutex_lock(&guard);
    if (number == room) {
        room = room ? 2 * room : 1024;
        blocks = realloc(blocks, room * sizeof *blocks);
        if (!blocks) abort();
    }
    size_t place = before(start);
    memmove(blocks + place + 1, blocks + place, (number - place) * sizeof *blocks);
    blocks[place] = (Block){start, size, kind, device};
    number++;
    pthread_mutex_unlock(&guard);
}

Block blocks_find(const void *address)
{
    Block found = {NULL, 0, NO_BLOCK, -1};
    pthread_mutex_lock(&guard);
    size_t place = before(address);
    if (place && (const char *)address < blocks[place - 1].start + blocks[place - 1].size) found = blocks[place - 1];
    pthread_mutex_unlock(&guard);
    return found;
}

Block blocks_remove(void *start, BlockKind kind)
{
    Block found = {NULL, 0, NO_BLOCK, -1};
    pthread_mutex_lock(&guard);
    size_t place = before(start);
    if (place && blocks[place - 1].start == start && blocks[place - 1].kind == kind) {
        found = blocks[place - 1];
        memmove(blocks + place - 1, blocks + place, (number - place) * sizeof *blocks);
        number--;
    }
    pthread_mutex_unlock(&guard);
    return found;
}

int is_on_device(const void *address)
{
    BlockKind kind = blocks_find(address).kind;
    return kind == DEVICE_BLOCK || kind == POOL_BLOCK || kind == VIRTUAL_BLOCK || kind == OPENED_BLOCK;
}

void release(Block block)
{
    contents_forget(block.start, block.size);
    munmap(block.start, block.size);
}
