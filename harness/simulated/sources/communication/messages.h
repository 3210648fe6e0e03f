/* What ranks send each other: small messages, in a file of each rank beside the world. */
#ifndef MESSAGES_H
#define MESSAGES_H

#include <stddef.h>
#include <stdint.h>

/* A communicator's rank as others find it. */
typedef struct { uint64_t group; int ranks, rank; } Address;

/* Whether this process is a lone rank: it stands for all ranks of its world, and the others never start. What
 * another rank would send is then what this one sends. */
int is_alone(void);

/* Messages of collectives; sent to one rank: its number is added. */
enum { COLLECTIVE = 0, SENT = 1 };
/* ncclRedOp_t; later ones are made by ncclRedOpCreatePreMulSum. */
enum { SUM, PRODUCT, MAXIMUM, MINIMUM, AVERAGE };

/* A result that may need other ranks. It is asked for only when somebody reads it. */
typedef struct Message Message;

/* The piece of another rank's message that begins at an offset. */
Message *message_from(Address here, int rank, int kind, uint64_t sequence, size_t offset, size_t bytes);
/* All ranks' messages, combined. */
Message *message_of_all(Address here, uint64_t sequence, size_t offset, size_t bytes, int type, int operation);
void message_keep(Message *message);
void message_release(Message *message);
/* NULL where nobody has waited for it. */
const char *message_bytes(const Message *message);
/* Wait for what it needs; return a code, and tell on standard error what did not come. */
int message_wait(Message *message);

/* Tell the other ranks that this one is there. */
void message_begin(Address here);
/* Tell them of a message: of `bytes` zeros where `content` is NULL. */
void message_post(Address here, int kind, uint64_t sequence, const void *content, size_t bytes);
/* Read what a rank has posted; return a code. */
int message_read(Address here, int rank, int kind, uint64_t sequence, char *to, size_t offset, size_t bytes);

/* combine.c: add `from` to `to`, element by element; 0 where this type or operation cannot be combined here. */
int combine(char *to, const char *from, size_t bytes, int type, int operation);
void divide(char *numbers, size_t bytes, int type, int by);
size_t width_of(int type);

#endif
