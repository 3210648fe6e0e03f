/* Descriptors of cuDNN's graphs, as torch sets them. */
#ifndef CUDNN_GRAPH_H
#define CUDNN_GRAPH_H

#include <stddef.h>
#include <stdint.h>

/* cudnnBackendDescriptorType_t, as far as they differ here. */
enum { CONVOLUTION = 1, ENGINE = 2, CONFIGURATION = 3, HEURISTICS = 4, PLAN = 5, OPERATION_FORWARD = 10,
       OPERATION_GRADIENT_OF_DATA = 12, GRAPH = 15, TENSOR = 17, DEVICE = 38 };
/* cudnnBackendAttributeType_t, by width. */
enum { IS_HANDLE = 0, IS_BOOLEAN = 2, IS_INT64 = 3, IS_DOUBLE = 5, IS_POINTER = 6, IS_DESCRIPTOR = 15, IS_CHARACTER = 24,
       IS_FRACTION = 26 };

typedef struct Attribute {
    struct Attribute *next;
    int name, type;
    int64_t count;
    char data[];
} Attribute;

typedef struct {
    int kind;
    Attribute *attributes;  /* the one that was set last is first */
    void *real;             /* the descriptor of NVIDIA's cuDNN with the same attributes; NULL: it was not asked */
} Descriptor;

const Attribute *attribute_of(const Descriptor *descriptor, int name);

/* Finalize a descriptor in NVIDIA's cuDNN as well, where it belongs to a convolution; return its code for a plan. */
int heuristics_finalize(Descriptor *made);
/* Answer an attribute from there. */
int heuristics_answer(const Descriptor *of, int name, int type, int64_t asked, int64_t *count, void *data);
void heuristics_forget(Descriptor *made);

#endif
