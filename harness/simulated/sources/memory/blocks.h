/* The address ranges that this process has from CUDA. Nothing of a device's memory is there to touch. */
#ifndef BLOCKS_H
#define BLOCKS_H

#include <stddef.h>
#include <stdint.h>

typedef enum { NO_BLOCK, DEVICE_BLOCK, POOL_BLOCK, VIRTUAL_BLOCK, OPENED_BLOCK, PINNED_BLOCK, REGISTERED_BLOCK, MANAGED_BLOCK } BlockKind;

typedef struct {
    char *start;
    size_t size;
    BlockKind kind;
    int device;
} Block;

/* The driver maps the memory of a GPU in pieces of this size. */
enum { GRANULARITY = 2 << 20, PAGE = 4096 };

size_t rounded(size_t bytes, size_t step);
/* Reserve address space: of a device's memory, which nobody may touch, or of the host's. NULL where there is none. */
void *reserve(size_t bytes, int touchable);
void blocks_add(void *start, size_t size, BlockKind kind, int device);
/* The block that an address is in; of kind NO_BLOCK where it is in none. */
Block blocks_find(const void *address);
/* Take out the block that begins at an address, if it is of this kind; its kind is NO_BLOCK otherwise. */
Block blocks_remove(void *start, BlockKind kind);
int is_on_device(const void *address);

/* What small copies have written to devices. Of larger ones nothing is kept. */
enum { SMALL = 64 << 10 };
void contents_write(void *to, const void *from, size_t bytes);
/* Return a code: what another rank was to send may not come. */
int contents_read(void *to, const void *from, size_t bytes);
int contents_any(const void *from, size_t bytes);
/* A part of a message lies there from now on, whenever it is read. */
struct Message;
void contents_expect(void *to, struct Message *message, size_t offset, size_t bytes);
void contents_move(void *to, const void *from, size_t bytes);
void contents_fill(void *to, int value, size_t bytes);
void contents_forget(void *start, size_t bytes);
/* From where to where anything is kept; 0 where nothing is. */
int contents_between(uintptr_t *low, uintptr_t *high);
/* Whether anything is kept at an address; it may be forgotten. */
int contents_touch(uintptr_t address, int forget);
/* A kernel gets these arguments: forget what it may write. */
void forget_arguments(const void *kernel, void **arguments);
/* The compiler's name of a kernel; NULL where it was not registered. */
const char *kernel_name(const void *kernel);

/* Copy between any two places, as a stream would; return a code. */
int copy(void *to, const void *from, size_t bytes);
/* Give the memory of a block back, its address space and what was written there. */
void release(Block block);

#endif
