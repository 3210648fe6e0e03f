/* The arithmetic of collectives, for the numbers that programs send each other: lengths, counts, flags, losses. */
#include "messages.h"

#include <string.h>

/* ncclDataType_t; half precision and the later ones are not combined. */
enum { INT8, UINT8, INT32, UINT32, INT64, UINT64, HALF, FLOAT, DOUBLE, BFLOAT16, TYPES = 12 };

size_t width_of(int type)
{
    static const size_t WIDTHS[TYPES] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
    return type >= 0 && type < TYPES ? WIDTHS[type] : 4;
}

#define FOR_EACH(kind, to, from, bytes, operation) \
    do { \
        kind *left = (kind *)(to); \
        const kind *right = (const kind *)(from); \
        for (size_t i = 0; i < (bytes) / sizeof(kind); i++) { \
            switch (operation) { \
            case SUM: case AVERAGE: left[i] = (kind)(left[i] + right[i]); break; \
            case PRODUCT: left[i] = (kind)(left[i] * right[i]); break; \
            case MAXIMUM: if (right[i] > left[i]) left[i] = right[i]; break; \
            case MINIMUM: if (right[i] < left[i]) left[i] = right[i]; break; \
            default: return 0; \
            } \
        } \
    } while (0)

int combine(char *to, const char *from, size_t bytes, int type, int operation)
{
    switch (type) {
    case INT8: FOR_EACH(int8_t, to, from, bytes, operation); return 1;
    case UINT8: FOR_EACH(uint8_t, to, from, bytes, operation); return 1;
    case INT32: FOR_EACH(int32_t, to, from, bytes, operation); return 1;
    case UINT32: FOR_EACH(uint32_t, to, from, bytes, operation); return 1;
    case INT64: FOR_EACH(int64_t, to, from, bytes, operation); return 1;
    case UINT64: FOR_EACH(uint64_t, to, from, bytes, operation); return 1;
    case FLOAT: FOR_EACH(float, to, from, bytes, operation); return 1;
    case DOUBLE: FOR_EACH(double, to, from, bytes, operation); return 1;
    default: return 0;
    }
}

#define DIVIDE(kind, numbers, bytes, by) \
    for (size_t i = 0; i < (bytes) / sizeof(kind); i++) ((kind *)(numbers))[i] = (kind)(((kind *)(numbers))[i] / (kind)(by))

void divide(char *numbers, size_t bytes, int type, int by)
{
    switch (type) {
    case INT32: DIVIDE(int32_t, numbers, bytes, by); break;
    case INT64: DIVIDE(int64_t, numbers, bytes, by); break;
    case FLOAT: DIVIDE(float, numbers, bytes, by); break;
    case DOUBLE: DIVIDE(double, numbers, bytes, by); break;
    default: break;
    }
}
