/* Finds the device memory that a kernel may write: the addresses among its arguments.
 *
 * Who launches a kernel gives an array of addresses of its arguments, without their number and sizes. Both lie on the
 * caller's stack as a rule, so whatever is read there exists. What is taken for an argument too many only makes memory
 * read as zeros. torch's elementwise kernels write what the first address says and read the others; what ranks have
 * gathered is compared by them. Any other kernel may write wherever it has an address.
 */
#define _GNU_SOURCE
#include "blocks.h"

#include <pthread.h>
#include <string.h>

/* Of one kernel's arguments altogether: CUDA C++ programming guide, "__global__ function parameters". */
enum { MOST_ARGUMENTS = 32, LARGEST_ARGUMENT = 4096 };

static __thread uintptr_t stack_start, stack_end;

static void find_stack(void)
{
    pthread_attr_t attributes;
    void *start = NULL;
    size_t size = 0;
    if (!pthread_getattr_np(pthread_self(), &attributes)) {
        pthread_attr_getstack(&attributes, &start, &size);
        pthread_attr_destroy(&attributes);
    }
    stack_start = (uintptr_t)start;
    stack_end = stack_start + size;
}

/* The arguments that lie on the stack above an address. */
static int on_stack(uintptr_t here, void **arguments, uintptr_t *found)
{
    int number = 0;
    if (here < stack_start || (uintptr_t)arguments < here) return 0;
    for (; number < MOST_ARGUMENTS && (uintptr_t)(arguments + number + 1) <= stack_end; number++) {
        found[number] = (uintptr_t)arguments[number];
        if (found[number] < here || found[number] >= stack_end) break;
    }
    return number;
}

static uintptr_t end_of(const uintptr_t *found, int number, int i)
{
    /* An argument ends where the next one begins, at the latest. */
    uintptr_t end = found[i] + LARGEST_ARGUMENT;
    for (int j = 0; j < number; j++)
        if (found[j] > found[i] && found[j] < end) end = found[j];
    return end < stack_end ? end : stack_end;
}

#define FOR_WORDS(found, number, word) \
    for (int i_ = 0; i_ < (number); i_++) \
        for (uintptr_t word, end_ = end_of(found, number, i_), at_ = ((found)[i_] + 7) / 8 * 8; \
             at_ + 8 <= end_ && (word = *(uintptr_t *)at_, 1); at_ += 8)

typedef enum { OTHER, ELEMENTWISE, WITH_ARRAY } Kind;

static Kind kind_of(const void *kernel)
{
    const char *name = kernel_name(kernel);
    const char *found = name ? strstr(name, "elementwise_kernel") : NULL;
    if (!found || !strncmp(found, "elementwise_kernel_for_multi_outputs", 36)) return OTHER;
    return strstr(name, "vectorized_") || strstr(name, "unrolled_elementwise") ? WITH_ARRAY : ELEMENTWISE;
}

void forget_arguments(const void *kernel, void **arguments)
{
    uintptr_t low, high, found[MOST_ARGUMENTS];
    int touched = 0;
    if (!contents_between(&low, &high)) return;
    if (!stack_end) find_stack();
    int number = on_stack((uintptr_t)__builtin_frame_address(0), arguments, found);
    FOR_WORDS(found, number, word)
        if (word >= low && word < high && contents_touch(word, 0)) touched = 1;
    if (!touched) return;
    Kind kind = kind_of(kernel);
    /* Their arguments are a number, a functor, and an array of addresses that begins with what they write. */
    if (kind == WITH_ARRAY && number >= 3 && is_on_device(*(void **)found[2])) {
        contents_touch(*(uintptr_t *)found[2], 1);
        return;
    }
    FOR_WORDS(found, number, word) {
        if (word < 4096 || !is_on_device((void *)word)) continue;
        contents_touch(word, 1);
        if (kind != OTHER) return;
    }
}
