/* cuDNN's older interface, as far as torch calls it: handles, descriptors, algorithms and sizes. */
#include "cudnn.h"
#include "process.h"
#include "streams.h"

#include <stdlib.h>
#include <string.h>

EXPORT int cudnnCreate(Dnn **dnn)
{
    if (ready()) return DNN_NOT_INITIALIZED;
    int code = strikes(FAULT_CUDNN, current_device());
    if (!code) *dnn = handle();
    return code;
}

EXPORT int cudnnDestroy(Dnn *dnn)
{
    free(dnn);
    return SUCCESS;
}

EXPORT int cudnnSetStream(Dnn *dnn, void *stream)
{
    dnn->stream = stream;
    return SUCCESS;
}

EXPORT int cudnnGetStream(Dnn *dnn, void **stream)
{
    *stream = dnn->stream;
    return SUCCESS;
}

EXPORT size_t cudnnGetVersion(void) { return DNN_VERSION; }
EXPORT size_t cudnnGetCudartVersion(void) { return RUNTIME_VERSION; }

EXPORT int cudnnGetProperty(int part, int *value)
{
    /* Versions before 9 count the major number in thousands. */
    int major = DNN_VERSION < 90000 ? DNN_VERSION / 1000 : DNN_VERSION / 10000;
    int rest = DNN_VERSION < 90000 ? DNN_VERSION % 1000 : DNN_VERSION % 10000;
    *value = part == 0 ? major : part == 1 ? rest / 100 : rest % 100;
    return SUCCESS;
}

EXPORT const char *cudnnGetErrorString(int code)
{
    switch (code) {
    case SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case DNN_NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
    case DNN_BAD_PARAMETER: return "CUDNN_STATUS_BAD_PARAM";
    case DNN_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    case 4000: return "CUDNN_STATUS_INTERNAL_ERROR";
    case 4003: return "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED";
    case 4004: return "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED";
    case 5000: return "CUDNN_STATUS_EXECUTION_FAILED";
    default: return "CUDNN_UNKNOWN_STATUS";
    }
}

EXPORT void cudnnGetLastErrorString(char *text, size_t size)
{
    if (size) *text = 0;
}

size_t dnn_width(int type)
{
    switch (type) {
    case 1: case 10: case 20: return 8;          /* double, int64, complex of floats */
    case 2: case 9: return 2;                    /* half, bfloat16 */
    case 3: case 6: case 11: case 12: case 13: return 1;
    default: return 4;
    }
}

/* ---- descriptors */

static int described(void **made, size_t size)
{
    *made = calloc(1, size);
    if (!*made) abort();
    return SUCCESS;
}

static int forgotten(void *made)
{
    free(made);
    return SUCCESS;
}

#define DESCRIPTOR(name, size) \
    EXPORT int cudnnCreate##name##Descriptor(void **made) { return described(made, size); } \
    EXPORT int cudnnDestroy##name##Descriptor(void *made) { return forgotten(made); }

DESCRIPTOR(Activation, 64)
DESCRIPTOR(CTCLoss, 64)
DESCRIPTOR(Convolution, 64)
DESCRIPTOR(Dropout, 64)
DESCRIPTOR(Pooling, 64)
DESCRIPTOR(SpatialTransformer, 64)
DESCRIPTOR(Tensor, sizeof(Tensor))
DESCRIPTOR(Filter, sizeof(Tensor))

EXPORT int cudnnSetTensorNdDescriptor(Tensor *tensor, int type, int number, const int *dimensions, const int *strides)
{
    if (number > DIMENSIONS) return DNN_BAD_PARAMETER;
    *tensor = (Tensor){.type = type, .number = number};
    memcpy(tensor->dimensions, dimensions, sizeof(int) * (size_t)number);
    memcpy(tensor->strides, strides, sizeof(int) * (size_t)number);
    return SUCCESS;
}

EXPORT int cudnnGetTensorNdDescriptor(const Tensor *tensor, int asked, int *type, int *number, int *dimensions, int *strides)
{
    size_t most = (size_t)(asked < tensor->number ? asked : tensor->number);
    *type = tensor->type;
    *number = tensor->number;
    memcpy(dimensions, tensor->dimensions, sizeof(int) * most);
    memcpy(strides, tensor->strides, sizeof(int) * most);
    return SUCCESS;
}

EXPORT int cudnnSetFilterNdDescriptor(Tensor *filter, int type, int format, int number, const int *dimensions)
{
    if (number > DIMENSIONS) return DNN_BAD_PARAMETER;
    *filter = (Tensor){.type = type, .format = format, .number = number};
    memcpy(filter->dimensions, dimensions, sizeof(int) * (size_t)number);
    return SUCCESS;
}

EXPORT int cudnnGetFilterNdDescriptor(const Tensor *filter, int asked, int *type, int *format, int *number, int *dimensions)
{
    *type = filter->type;
    *format = filter->format;
    *number = filter->number;
    memcpy(dimensions, filter->dimensions, sizeof(int) * (size_t)(asked < filter->number ? asked : filter->number));
    return SUCCESS;
}

/* ---- sizes: no workspace, as the engine of the graph interface has none unless the world says so */

EXPORT int cudnnDropoutGetStatesSize(Dnn *dnn, size_t *size)
{
    (void)dnn;
    *size = 1 << 20;
    return SUCCESS;
}

#define NO_SIZE_BEHIND(name, ...) EXPORT int name(__VA_ARGS__, size_t *size) { return *size = 0, SUCCESS; }

#pragma GCC diagnostic ignored "-Wunused-parameter"

NO_SIZE_BEHIND(cudnnGetConvolutionForwardWorkspaceSize, Dnn *dnn, void *x, void *w, void *c, void *y, int algorithm)
NO_SIZE_BEHIND(cudnnGetConvolutionBackwardDataWorkspaceSize, Dnn *dnn, void *w, void *y, void *c, void *x, int algorithm)
NO_SIZE_BEHIND(cudnnGetConvolutionBackwardFilterWorkspaceSize, Dnn *dnn, void *x, void *y, void *c, void *w, int algorithm)
NO_SIZE_BEHIND(cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize, Dnn *dnn, int mode, int fused, void *x, void *z,
               void *y, void *scale, void *activation)
NO_SIZE_BEHIND(cudnnGetBatchNormalizationBackwardExWorkspaceSize, Dnn *dnn, int mode, int fused, void *x, void *y, void *dy,
               void *dz, void *dx, void *scale, void *activation)
NO_SIZE_BEHIND(cudnnGetBatchNormalizationTrainingExReserveSpaceSize, Dnn *dnn, int mode, int fused, void *activation, void *x)
NO_SIZE_BEHIND(cudnnGetCTCLossWorkspaceSize, Dnn *dnn, void *probabilities, void *gradients, const int *labels,
               const int *label_lengths, const int *input_lengths, int algorithm, void *loss)
NO_SIZE_BEHIND(cudnnGetCTCLossWorkspaceSize_v8, Dnn *dnn, int algorithm, void *loss, void *probabilities, void *gradients)

/* ---- algorithms: one for each direction */

typedef struct { int algorithm, status; float time; size_t memory; int determinism, math, reserved[3]; } Performance;

static int one_algorithm(int algorithm, int asked, int *found, Performance *results)
{
    *found = asked > 0;
    if (*found) *results = (Performance){.algorithm = algorithm, .time = 1};
    return SUCCESS;
}

#define ALGORITHM(direction, algorithm) \
    EXPORT int cudnnGetConvolution##direction##Algorithm_v7(Dnn *dnn, void *a, void *b, void *c, void *d, int asked, \
                                                            int *found, Performance *results) \
    { return one_algorithm(algorithm, asked, found, results); } \
    EXPORT int cudnnFindConvolution##direction##AlgorithmEx(Dnn *dnn, void *a, void *of_a, void *b, void *of_b, void *c, \
                                                            void *d, void *of_d, int asked, int *found, \
                                                            Performance *results) \
    { return one_algorithm(algorithm, asked, found, results); }

ALGORITHM(Forward, 1)
ALGORITHM(BackwardData, 1)
ALGORITHM(BackwardFilter, 1)
