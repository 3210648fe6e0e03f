/* The files through which ranks talk: each rank of a communicator appends to its own, and reads those of the others.
 *
 * A file begins with its writer, so that nobody waits for a process that has ended. A record tells a message's kind, its
 * number and its bytes; one of zeros has none. Large messages are not posted: nobody knows what is in them.
 */
#define _GNU_SOURCE
#include "messages.h"
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* As torch's own limit for NCCL. Between looks the reader sleeps, and now and then it asks whether the writer lives. */
enum { LIMIT_SECONDS = 600, FIRST_NAP_MICROSECONDS = 100, LONGEST_NAP_MICROSECONDS = 10000 };

typedef struct { int32_t pid, unused; uint64_t started; } Writer;
typedef struct { uint64_t sequence; int32_t kind; uint32_t bytes; } Record;
typedef struct { Record record; off_t content; } Seen;

/* One rank's file, as this process writes or reads it. */
typedef struct Mailbox {
    uint64_t group;
    int rank, file;
    Writer writer;
    off_t end;
    Seen *seen;
    size_t number, room;
    struct Mailbox *next;
} Mailbox;

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static Mailbox *written, *read_from;

static int open_file(uint64_t group, int rank, int flags)
{
    char path[4096];
    const char *place = getenv("GPU_PROFILE_SIMULATED_WORLD");
    snprintf(path, sizeof path, "%s.nccl-%016llx-%d", place ? place : "", (unsigned long long)group, rank);
    return open(path, flags | O_CLOEXEC, 0600);
}

static Mailbox *mailbox_in(Mailbox **list, Address here, int rank)
{
    for (Mailbox *box = *list; box; box = box->next)
        if (box->group == here.group && box->rank == rank) return box;
    Mailbox *box = calloc(1, sizeof *box);
    if (!box) abort();
    *box = (Mailbox){.group = here.group, .rank = rank, .file = -1, .end = sizeof(Writer), .next = *list};
    return *list = box;
}

static void refused(Address here)
{
    fprintf(stderr, "simulated NCCL: rank %d cannot write its messages: %s\n", here.rank, strerror(errno));
}

/* This rank's file. It is made with the communicator, so that others know whom they wait for. */
static Mailbox *own(Address here)
{
    Mailbox *box = mailbox_in(&written, here, here.rank);
    if (box->file >= 0) return box;
    Writer writer = {getpid(), 0, world_started()};
    box->file = open_file(here.group, here.rank, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND);
    if (box->file < 0 || write(box->file, &writer, sizeof writer) != sizeof writer) refused(here);
    return box;
}

void message_begin(Address here)
{
    pthread_mutex_lock(&guard);
    own(here);
    pthread_mutex_unlock(&guard);
}

void message_post(Address here, int kind, uint64_t sequence, const void *content, size_t bytes)
{
    Record record = {sequence, kind, content ? (uint32_t)bytes : 0};
    struct iovec parts[] = {{&record, sizeof record}, {(void *)content, record.bytes}};
    pthread_mutex_lock(&guard);
    Mailbox *box = own(here);
    if (box->file >= 0 && writev(box->file, parts, 2) != (ssize_t)(sizeof record + record.bytes)) refused(here);
    pthread_mutex_unlock(&guard);
}

int is_alone(void)
{
    const char *alone = getenv("GPU_PROFILE_SIMULATED_LONE_RANK");
    return alone && *alone;
}

/* Look at what has come since the last look. */
static void look(Mailbox *box)
{
    Record record;
    if (box->file < 0) {
        box->file = open_file(box->group, box->rank, O_RDONLY);
        if (box->file < 0) return;
    }
    if (!box->writer.pid && pread(box->file, &box->writer, sizeof(Writer), 0) != sizeof(Writer)) {
        box->writer.pid = 0;
        return;
    }
    off_t size = lseek(box->file, 0, SEEK_END);
    while (box->end + (off_t)sizeof record <= size
           && pread(box->file, &record, sizeof record, box->end) == (ssize_t)sizeof record
           && box->end + (off_t)(sizeof record + record.bytes) <= size) {
        if (box->number == box->room) {
            box->room = box->room ? 2 * box->room : 64;
            box->seen = realloc(box->seen, box->room * sizeof *box->seen);
            if (!box->seen) abort();
        }
        box->seen[box->number++] = (Seen){record, box->end + (off_t)sizeof record};
        box->end += (off_t)(sizeof record + record.bytes);
    }
}

static const Seen *find(const Mailbox *box, int kind, uint64_t sequence)
{
    for (size_t i = box->number; i-- > 0;)
        if (box->seen[i].record.kind == kind && box->seen[i].record.sequence == sequence) return &box->seen[i];
    return NULL;
}

/* Whether a rank has gone on without this message: then it called another collective. */
static int is_past(const Mailbox *box, int kind, uint64_t sequence)
{
    for (size_t i = box->number; i-- > 0;)
        if (box->seen[i].record.kind == kind) return box->seen[i].record.sequence > sequence;
    return 0;
}

static int missing(Address here, int rank, const char *why)
{
    fprintf(stderr,
            "simulated NCCL: rank %d waits for a message of rank %d, %s: see what rank %d has printed, and whether all "
            "ranks call the same collectives in the same order\n",
            here.rank, rank, why, rank);
    return LAUNCH_TIMEOUT;
}

static int content_of(const Mailbox *box, const Seen *seen, char *to, size_t offset, size_t bytes)
{
    size_t there = seen->record.bytes > offset ? seen->record.bytes - offset : 0;
    memset(to, 0, bytes);
    if (there > bytes) there = bytes;
    return !there || pread(box->file, to, there, seen->content + (off_t)offset) == (ssize_t)there ? SUCCESS : LAUNCH_TIMEOUT;
}

/* What an absent rank would send: what this one sends, to all or to that rank; where it sends nothing, zeros. */
static int read_own(Address here, int rank, int kind, uint64_t sequence, char *to, size_t offset, size_t bytes)
{
    pthread_mutex_lock(&guard);
    Mailbox *box = mailbox_in(&read_from, here, here.rank);
    look(box);
    const Seen *seen = find(box, kind >= SENT ? SENT + rank : kind, sequence);
    int code = seen ? content_of(box, seen, to, offset, bytes) : SUCCESS;
    pthread_mutex_unlock(&guard);
    if (!seen) memset(to, 0, bytes);
    return code;
}

int message_read(Address here, int rank, int kind, uint64_t sequence, char *to, size_t offset, size_t bytes)
{
    if (rank != here.rank && is_alone()) return read_own(here, rank, kind, sequence, to, offset, bytes);
    struct timespec nap = {0, 0};
    long microseconds = FIRST_NAP_MICROSECONDS;
    for (double waited = 0;; waited += (double)microseconds / 1e6) {
        pthread_mutex_lock(&guard);
        Mailbox *box = mailbox_in(&read_from, here, rank);
        /* Whoever has ended can have written until its end. */
        int ended = box->writer.pid && !world_lives(box->writer.pid, box->writer.started);
        look(box);
        const Seen *seen = find(box, kind, sequence);
        int past = is_past(box, kind, sequence);
        int code = seen ? content_of(box, seen, to, offset, bytes) : SUCCESS;
        pthread_mutex_unlock(&guard);
        if (seen) return code;
        if (past) return missing(here, rank, "which has gone on without sending it");
        if (ended) return missing(here, rank, "whose process has ended");
        if (waited > LIMIT_SECONDS) return missing(here, rank, "and none came within 600 s");
        nap.tv_nsec = 1000 * microseconds;
        nanosleep(&nap, NULL);
        microseconds = 2 * microseconds > LONGEST_NAP_MICROSECONDS ? LONGEST_NAP_MICROSECONDS : 2 * microseconds;
    }
}
