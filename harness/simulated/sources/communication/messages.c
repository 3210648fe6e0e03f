/* Results of collectives, which are made when somebody reads them: so ranks wait for each other no more than needed. */
#define _GNU_SOURCE
#include "messages.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>

enum { ALL = -1 };

struct Message {
    int users, from, kind, type, operation;
    Address here;
    uint64_t sequence;
    size_t offset, size;
    char *bytes; /* NULL until it was waited for */
};

static Message *made(Message facts)
{
    Message *message = malloc(sizeof *message);
    if (!message) abort();
    *message = facts;
    message->users = 1;
    return message;
}

Message *message_from(Address here, int rank, int kind, uint64_t sequence, size_t offset, size_t bytes)
{
    return made((Message){.from = rank, .kind = kind, .here = here, .sequence = sequence, .offset = offset, .size = bytes});
}

Message *message_of_all(Address here, uint64_t sequence, size_t offset, size_t bytes, int type, int operation)
{
    return made((Message){.from = ALL, .kind = COLLECTIVE, .here = here, .sequence = sequence, .offset = offset,
                          .size = bytes, .type = type, .operation = operation});
}

void message_keep(Message *message) { __atomic_add_fetch(&message->users, 1, __ATOMIC_RELAXED); }

void message_release(Message *message)
{
    if (__atomic_sub_fetch(&message->users, 1, __ATOMIC_ACQ_REL)) return;
    free(message->bytes);
    free(message);
}

const char *message_bytes(const Message *message) { return __atomic_load_n(&message->bytes, __ATOMIC_ACQUIRE); }

static int combined(const Message *message, char *result)
{
    Address here = message->here;
    char *piece = malloc(message->size);
    if (!piece) abort();
    int code = message_read(here, here.rank, COLLECTIVE, message->sequence, result, message->offset, message->size);
    for (int rank = 0; rank < here.ranks && !code; rank++) {
        if (rank == here.rank) continue;
        code = message_read(here, rank, COLLECTIVE, message->sequence, piece, message->offset, message->size);
        /* What cannot be combined here stays what this rank holds. */
        if (!code && !combine(result, piece, message->size, message->type, message->operation)) break;
    }
    free(piece);
    if (!code && message->operation == AVERAGE) divide(result, message->size, message->type, here.ranks);
    return code;
}

int message_wait(Message *message)
{
    char *result = malloc(message->size ? message->size : 1), *none = NULL;
    if (!result) abort();
    int code = message->from == ALL ? combined(message, result)
                                    : message_read(message->here, message->from, message->kind, message->sequence, result,
                                                   message->offset, message->size);
    /* Another thread may have waited for it, too. */
    if (code || !__atomic_compare_exchange_n(&message->bytes, &none, result, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) free(result);
    return code;
}
