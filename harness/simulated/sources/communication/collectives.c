/* NCCL's collectives. Small messages reach the other ranks when these ask for them; large ones move nothing.
 *
 * Whether a message is small all ranks tell alike, by its size. What a kernel wrote is not known: it is sent as zeros.
 */
#include "blocks.h"
#include "communicator.h"
#include "process.h"
#include "streams.h"

#include <stdlib.h>

#define GIVEN(c, stream) do { if (given(c, stream)) return UNHANDLED_CUDA_ERROR; } while (0)

static int given(Communicator *c, void *stream)
{
    (void)c;
    int code = ready();
    if (!code) enqueue(stream);
    return code;
}

/* Post what lies in a place: its bytes where they are known. */
static int post(const Communicator *c, int kind, uint64_t sequence, const void *from, size_t bytes)
{
    char *content = contents_any(from, bytes) ? malloc(bytes) : NULL;
    int code = content ? contents_read(content, from, bytes) : SUCCESS;
    if (!code) message_post(c->here, kind, sequence, content, bytes);
    free(content);
    return code ? UNHANDLED_CUDA_ERROR : SUCCESS;
}

static void expect(void *to, Message *message, size_t bytes)
{
    contents_expect(to, message, 0, bytes);
    message_release(message);
}

/* What one rank has posted comes here. */
static void expect_from(const Communicator *c, int rank, uint64_t sequence, void *to, size_t offset, size_t bytes)
{
    expect(to, message_from(c->here, rank, COLLECTIVE, sequence, offset, bytes), bytes);
}

static int moved(void *to, const void *from, size_t bytes)
{
    return copy(to, from, bytes) ? UNHANDLED_CUDA_ERROR : SUCCESS;
}

/* Post `all` bytes, and have `bytes` of the result of all ranks come to a place, if there is one. */
static int reduced(Communicator *c, const void *from, size_t all, void *to, size_t offset, size_t bytes, int type, int operation)
{
    uint64_t sequence = c->collectives++;
    if (c->here.ranks == 1 || all > SMALL) return to ? moved(to, (const char *)from + offset, bytes) : SUCCESS;
    int code = post(c, COLLECTIVE, sequence, from, all);
    if (!code && to && bytes) expect(to, message_of_all(c->here, sequence, offset, bytes, type, operation), bytes);
    return code;
}

EXPORT int ncclAllReduce(const void *from, void *to, size_t count, int type, int operation, Communicator *c, void *stream)
{
    size_t bytes = count * width_of(type);
    GIVEN(c, stream);
    return reduced(c, from, bytes, to, 0, bytes, type, operation);
}

EXPORT int ncclReduce(const void *from, void *to, size_t count, int type, int operation, int root, Communicator *c, void *stream)
{
    size_t bytes = count * width_of(type);
    GIVEN(c, stream);
    return reduced(c, from, bytes, c->here.rank == root ? to : NULL, 0, bytes, type, operation);
}

EXPORT int ncclReduceScatter(const void *from, void *to, size_t count, int type, int operation, Communicator *c, void *stream)
{
    size_t bytes = count * width_of(type);
    GIVEN(c, stream);
    return reduced(c, from, (size_t)c->here.ranks * bytes, to, (size_t)c->here.rank * bytes, bytes, type, operation);
}

EXPORT int ncclBroadcast(const void *from, void *to, size_t count, int type, int root, Communicator *c, void *stream)
{
    size_t bytes = count * width_of(type);
    uint64_t sequence = c->collectives++;
    GIVEN(c, stream);
    if (c->here.rank == root || is_alone()) {
        int code = bytes > SMALL || c->here.ranks == 1 ? SUCCESS : post(c, COLLECTIVE, sequence, from, bytes);
        return code ? code : moved(to, from, bytes);
    }
    if (bytes > SMALL) contents_forget(to, bytes);
    else if (bytes) expect_from(c, root, sequence, to, 0, bytes);
    return SUCCESS;
}

EXPORT int ncclBcast(void *place, size_t count, int type, int root, Communicator *c, void *stream)
{
    return ncclBroadcast(place, place, count, type, root, c, stream);
}

/* Each rank posts `all` bytes; every rank gets a piece of each of them. */
static int exchanged(Communicator *c, const char *from, size_t all, size_t offset, char *to, size_t bytes)
{
    uint64_t sequence = c->collectives++;
    int own = c->here.rank, is_small = all <= SMALL;
    int code = is_small && c->here.ranks > 1 ? post(c, COLLECTIVE, sequence, from, all) : SUCCESS;
    if (!code) code = moved(to + (size_t)own * bytes, from + (all > bytes ? (size_t)own * bytes : 0), bytes);
    for (int rank = 0; rank < c->here.ranks && !code; rank++) {
        char *place = to + (size_t)rank * bytes;
        if (rank == own || !bytes) continue;
        /* An absent rank sends this one what this one sends it. */
        size_t begin = is_alone() && all > bytes ? (size_t)rank * bytes : offset;
        if (is_small) expect_from(c, rank, sequence, place, begin, bytes);
        else contents_forget(place, bytes);
    }
    return code;
}

EXPORT int ncclAllGather(const void *from, char *to, size_t count, int type, Communicator *c, void *stream)
{
    size_t bytes = count * width_of(type);
    GIVEN(c, stream);
    return exchanged(c, from, bytes, 0, to, bytes);
}

EXPORT int ncclAlltoAll(const void *from, char *to, size_t count, int type, Communicator *c, void *stream)
{
    size_t bytes = count * width_of(type);
    GIVEN(c, stream);
    return exchanged(c, from, (size_t)c->here.ranks * bytes, (size_t)c->here.rank * bytes, to, bytes);
}

EXPORT int ncclSend(const void *from, size_t count, int type, int to, Communicator *c, void *stream)
{
    size_t bytes = count * width_of(type);
    GIVEN(c, stream);
    uint64_t sequence = c->sent[to]++;
    return bytes > SMALL ? SUCCESS : post(c, SENT + to, sequence, from, bytes);
}

EXPORT int ncclRecv(void *to, size_t count, int type, int from, Communicator *c, void *stream)
{
    size_t bytes = count * width_of(type);
    GIVEN(c, stream);
    uint64_t sequence = c->sent[c->here.ranks + from]++;
    if (bytes > SMALL) contents_forget(to, bytes);
    else if (bytes) expect(to, message_from(c->here, from, SENT + c->here.rank, sequence, 0, bytes), bytes);
    return SUCCESS;
}
