/* cuDNN's descriptors, which keep what is set on them. */
#ifndef CUDNN_H
#define CUDNN_H

#include <stddef.h>

enum { DNN_NOT_INITIALIZED = 1001, DNN_BAD_PARAMETER = 2000, DNN_NOT_SUPPORTED = 3000, DIMENSIONS = 8 };

typedef struct { void *stream; } Dnn;
/* Of tensors and filters alike. */
typedef struct { int type, format, number, dimensions[DIMENSIONS], strides[DIMENSIONS]; } Tensor;

size_t dnn_width(int type);

#endif
