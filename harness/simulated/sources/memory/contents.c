/* What small copies have written to devices, so that it can be read back. Everything else reads as zeros.
 *
 * Labels, lengths and the numbers that ranks compare come back as they were sent, until a kernel may have written there
 * (arguments.c). So what torch makes in memory that it has used before does not read as what was there.
 */
#include "blocks.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Of larger copies nothing is kept. When this much is kept, all of it is forgotten. */
enum { LARGEST = 64 << 10, MOST = 64 << 20 };

typedef struct { char *start, *end, *bytes; } Kept;

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static Kept *kept; /* sorted; they do not overlap */
static size_t number, room, total;

/* The first one that ends behind an address. */
static size_t behind(const char *address)
{
    size_t low = 0, high = number;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (kept[middle].end <= address) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void insert(size_t place, char *start, const char *bytes, size_t size)
{
    if (number == room) {
        room = room ? 2 * room : 256;
        kept = realloc(kept, room * sizeof *kept);
    }
    char *copied = malloc(size);
    if (!kept || !copied) abort();
    memcpy(copied, bytes, size);
    memmove(kept + place + 1, kept + place, (number - place) * sizeof *kept);
    kept[place] = (Kept){start, start + size, copied};
    number++;
    total += size;
}

static void drop(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        total -= (size_t)(kept[i].end - kept[i].start);
        free(kept[i].bytes);
    }
    memmove(kept + from, kept + to, (number - to) * sizeof *kept);
    number -= to - from;
}

/* Forget a range, and nothing beside it. */
static void cut(char *start, size_t size)
{
    char *end = start + size;
    size_t first = behind(start), last = first;
    while (last < number && kept[last].start < end) last++;
    if (first == last) return;
    Kept left = kept[first], right = kept[last - 1];
    if (right.end > end) insert(last, end, right.bytes + (end - right.start), (size_t)(right.end - end));
    if (left.start < start) insert(first++, left.start, left.bytes, (size_t)(start - left.start)), last++;
    drop(first, last);
}

static void put(char *to, const char *from, size_t size)
{
    size_t place = behind(to);
    if (place < number && kept[place].start <= to && kept[place].end >= to + size) {
        memcpy(kept[place].bytes + (to - kept[place].start), from, size);
        return;
    }
    cut(to, size);
    if (total + size > MOST) drop(0, number);
    insert(behind(to), to, from, size);
}

static void get(char *to, const char *from, size_t size)
{
    const char *end = from + size;
    memset(to, 0, size);
    for (size_t i = behind(from); i < number && kept[i].start < end; i++) {
        const char *start = kept[i].start > from ? kept[i].start : from;
        const char *stop = kept[i].end < end ? kept[i].end : end;
        memcpy(to + (start - from), kept[i].bytes + (start - kept[i].start), (size_t)(stop - start));
    }
}

void contents_write(void *to, const void *from, size_t bytes)
{
    pthread_mutex_lock(&guard);
    if (bytes > LARGEST) cut(to, bytes);
    else put(to, from, bytes);
    pthread_mutex_unlock(&guard);
}

void contents_read(void *to, const void *from, size_t bytes)
{
    pthread_mutex_lock(&guard);
    get(to, from, bytes);
    pthread_mutex_unlock(&guard);
}

void contents_move(void *to, const void *from, size_t bytes)
{
    char held[LARGEST];
    pthread_mutex_lock(&guard);
    size_t place = behind(from);
    if (bytes > LARGEST || place == number || kept[place].start >= (const char *)from + bytes) {
        cut(to, bytes);
    } else {
        get(held, from, bytes);
        put(to, held, bytes);
    }
    pthread_mutex_unlock(&guard);
}

void contents_fill(void *to, int value, size_t bytes)
{
    char held[LARGEST];
    pthread_mutex_lock(&guard);
    if (!value || bytes > LARGEST) {
        cut(to, bytes);
    } else {
        memset(held, value, bytes);
        put(to, held, bytes);
    }
    pthread_mutex_unlock(&guard);
}

void contents_forget(void *start, size_t bytes)
{
    pthread_mutex_lock(&guard);
    cut(start, bytes);
    pthread_mutex_unlock(&guard);
}

int contents_between(uintptr_t *low, uintptr_t *high)
{
    pthread_mutex_lock(&guard);
    int any = number > 0;
    *low = any ? (uintptr_t)kept[0].start : 0;
    *high = any ? (uintptr_t)kept[number - 1].end : 0;
    pthread_mutex_unlock(&guard);
    return any;
}

int contents_touch(uintptr_t address, int forget)
{
    pthread_mutex_lock(&guard);
    size_t place = behind((const char *)address);
    int any = place < number && (uintptr_t)kept[place].start <= address;
    if (any && forget) drop(place, place + 1);
    pthread_mutex_unlock(&guard);
    return any;
}
