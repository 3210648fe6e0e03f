/* What small copies have written to devices, so that it can be read back. Everything else reads as zeros.
 *
 * Labels, lengths and the numbers that ranks compare come back as they were sent, until a kernel may have written there
 * (arguments.c). So what torch makes in memory that it has used before does not read as what was there.
 */
#include "blocks.h"
#include "messages.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* When this much is kept, all of it is forgotten. */
enum { MOST = 64 << 20 };

/* A range holds bytes, or a part of a message that nobody has asked for yet. */
typedef struct { char *start, *end, *bytes; Message *message; size_t offset; } Kept;

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

static const char *bytes_at(const Kept *entry, const char *address)
{
    size_t skipped = (size_t)(address - entry->start);
    return entry->message ? message_bytes(entry->message) + entry->offset + skipped : entry->bytes + skipped;
}

static void place_at(size_t place, Kept entry)
{
    if (number == room) {
        room = room ? 2 * room : 256;
        kept = realloc(kept, room * sizeof *kept);
        if (!kept) abort();
    }
    memmove(kept + place + 1, kept + place, (number - place) * sizeof *kept);
    kept[place] = entry;
    number++;
    total += (size_t)(entry.end - entry.start);
}

/* A part of an entry, for another place: its own bytes, or one more user of its message. */
static Kept part_of(const Kept *entry, const char *from, size_t size, char *to)
{
    Kept part = {to, to + size, NULL, entry->message, 0};
    if (entry->message) {
        part.offset = entry->offset + (size_t)(from - entry->start);
        message_keep(entry->message);
        return part;
    }
    part.bytes = malloc(size);
    if (!part.bytes) abort();
    memcpy(part.bytes, bytes_at(entry, from), size);
    return part;
}

static void drop(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        total -= (size_t)(kept[i].end - kept[i].start);
        free(kept[i].bytes);
        if (kept[i].message) message_release(kept[i].message);
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
    if (right.end > end) place_at(last, part_of(&right, end, (size_t)(right.end - end), end));
    if (left.start < start) {
        place_at(first, part_of(&left, left.start, (size_t)(start - left.start), left.start));
        first++, last++;
    }
    drop(first, last);
}

/* Put an entry in the place of what was in its range. */
static void set(Kept entry)
{
    size_t size = (size_t)(entry.end - entry.start);
    cut(entry.start, size);
    if (total + size > MOST) drop(0, number);
    place_at(behind(entry.start), entry);
}

static void put(char *to, const char *from, size_t size)
{
    /* Each copy stays an entry of its own: a kernel that writes beside it makes its whole entry be forgotten. */
    size_t place = behind(to);
    if (place < number && kept[place].start == to && kept[place].end == to + size && !kept[place].message) {
        memcpy(kept[place].bytes, from, size);
        return;
    }
    Kept whole = {(char *)from, (char *)from + size, (char *)from, NULL, 0};
    set(part_of(&whole, from, size, to));
}

static void get(char *to, const char *from, size_t size)
{
    const char *end = from + size;
    memset(to, 0, size);
    for (size_t i = behind(from); i < number && kept[i].start < end; i++) {
        const char *start = kept[i].start > from ? kept[i].start : from;
        const char *stop = kept[i].end < end ? kept[i].end : end;
        memcpy(to + (start - from), bytes_at(&kept[i], start), (size_t)(stop - start));
    }
}

/* Wait, without the lock, for the messages that a range has parts of; return a code. */
static int settled(const char *from, size_t size)
{
    for (;;) {
        Message *message = NULL;
        for (size_t i = behind(from); i < number && kept[i].start < from + size && !message; i++)
            if (kept[i].message && !message_bytes(kept[i].message)) message = kept[i].message;
        if (!message) return 0;
        message_keep(message);
        pthread_mutex_unlock(&guard);
        int code = message_wait(message);
        pthread_mutex_lock(&guard);
        message_release(message);
        if (code) return code;
    }
}

void contents_write(void *to, const void *from, size_t bytes)
{
    pthread_mutex_lock(&guard);
    if (bytes > SMALL) cut(to, bytes);
    else put(to, from, bytes);
    pthread_mutex_unlock(&guard);
}

int contents_read(void *to, const void *from, size_t bytes)
{
    pthread_mutex_lock(&guard);
    int code = settled(from, bytes);
    if (!code) get(to, from, bytes);
    pthread_mutex_unlock(&guard);
    return code;
}

int contents_any(const void *from, size_t bytes)
{
    pthread_mutex_lock(&guard);
    size_t place = behind(from);
    int any = place < number && kept[place].start < (const char *)from + bytes;
    pthread_mutex_unlock(&guard);
    return any;
}

void contents_move(void *to, const void *from, size_t bytes)
{
    const char *start = from, *end = start + bytes;
    pthread_mutex_lock(&guard);
    size_t first = behind(start), last = first;
    while (bytes <= SMALL && last < number && kept[last].start < end) last++;
    size_t parts = last - first;
    Kept *moved = parts ? malloc(parts * sizeof *moved) : NULL;
    if (parts && !moved) abort();
    for (size_t i = 0; i < parts; i++) {
        const Kept *entry = &kept[first + i];
        const char *low = entry->start > start ? entry->start : start, *high = entry->end < end ? entry->end : end;
        moved[i] = part_of(entry, low, (size_t)(high - low), (char *)to + (low - start));
    }
    cut(to, bytes);
    for (size_t i = 0; i < parts; i++) set(moved[i]);
    free(moved);
    pthread_mutex_unlock(&guard);
}

void contents_fill(void *to, int value, size_t bytes)
{
    char held[SMALL];
    pthread_mutex_lock(&guard);
    if (!value || bytes > SMALL) {
        cut(to, bytes);
    } else {
        memset(held, value, bytes);
        put(to, held, bytes);
    }
    pthread_mutex_unlock(&guard);
}

void contents_expect(void *to, Message *message, size_t offset, size_t bytes)
{
    pthread_mutex_lock(&guard);
    message_keep(message);
    set((Kept){to, (char *)to + bytes, NULL, message, offset});
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
