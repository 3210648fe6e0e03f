/* cuDNN's recurrent layers: where each weight lies, and how much reserve and workspace a pass takes.
 *
 * The matrices of all layers come first, the biases behind them; of each layer those that act on the input stand before
 * those that act on the state. torch's own layout relies on it. The sizes of reserve and workspace are those of
 * harness/predict/cuda_operators/recurrent.py, with their source.
 */
#include "cudnn.h"
#include "process.h"
#include "streams.h"

#include <stdlib.h>

enum { RNN_RELU, RNN_TANH, LSTM, GRU };
enum { NO_BIAS, INPUT_BIAS, TWO_BIASES, STATE_BIAS };
enum { TRAINING = 1 };

typedef struct { int cell, bias, directions, type, input, hidden, projected, layers; } Layers;
typedef struct { int type, steps, batch, features; int64_t samples; } Sequence;

EXPORT int cudnnCreateRNNDescriptor(Layers **made)
{
    *made = calloc(1, sizeof **made);
    if (!*made) abort();
    return SUCCESS;
}

EXPORT int cudnnCreateRNNDataDescriptor(Sequence **made)
{
    *made = calloc(1, sizeof **made);
    if (!*made) abort();
    return SUCCESS;
}

EXPORT int cudnnDestroyRNNDescriptor(Layers *layers)
{
    free(layers);
    return SUCCESS;
}

EXPORT int cudnnDestroyRNNDataDescriptor(Sequence *sequence)
{
    free(sequence);
    return SUCCESS;
}

EXPORT int cudnnSetRNNDescriptor_v8(Layers *layers, int algorithm, int cell, int bias, int direction, int skip, int type,
                                    int precision, int math, int input, int hidden, int projected, int number,
                                    void *dropout, unsigned flags)
{
    (void)algorithm, (void)skip, (void)precision, (void)math, (void)dropout, (void)flags;
    *layers = (Layers){cell, bias, 1 + direction, type, input, hidden, projected, number};
    return SUCCESS;
}

EXPORT int cudnnSetRNNDataDescriptor(Sequence *sequence, int type, int layout, int steps, int batch, int features,
                                     const int *lengths, void *padding)
{
    (void)layout, (void)padding;
    *sequence = (Sequence){type, steps, batch, features, 0};
    /* What is packed has the steps of each sequence, and no others. */
    for (int i = 0; i < batch; i++) sequence->samples += lengths ? lengths[i] : steps;
    return SUCCESS;
}

static int gates(const Layers *layers)
{
    return layers->cell == LSTM ? 4 : layers->cell == GRU ? 3 : 1;
}

static int has_projection(const Layers *layers) { return layers->projected && layers->projected < layers->hidden; }
static int state(const Layers *layers) { return has_projection(layers) ? layers->projected : layers->hidden; }

/* Columns of a matrix: the ids below the number of gates act on the input, those above on the state, the last projects. */
static int64_t columns(const Layers *layers, int layer, int id)
{
    if (id == 2 * gates(layers)) return layers->hidden;
    if (id >= gates(layers)) return state(layers);
    return layer < layers->directions ? layers->input : (int64_t)layers->directions * state(layers);
}

static int64_t rows(const Layers *layers, int id)
{
    return id == 2 * gates(layers) ? layers->projected : layers->hidden;
}

static int matrices(const Layers *layers) { return 2 * gates(layers) + has_projection(layers); }

static int64_t matrix_place(const Layers *layers, int layer, int id)
{
    int64_t place = 0;
    for (int l = 0; l <= layer; l++)
        for (int i = 0; i < (l < layer ? matrices(layers) : id); i++) place += rows(layers, i) * columns(layers, l, i);
    return place;
}

static int has_bias(const Layers *layers, int id)
{
    if (id >= 2 * gates(layers)) return 0;
    return layers->bias == TWO_BIASES || layers->bias == (id < gates(layers) ? INPUT_BIAS : STATE_BIAS);
}

static int64_t bias_place(const Layers *layers, int layer, int id)
{
    int64_t place = matrix_place(layers, layers->layers * layers->directions, 0);
    for (int l = 0; l <= layer; l++)
        for (int i = 0; i < (l < layer ? matrices(layers) : id); i++) place += has_bias(layers, i) * (int64_t)layers->hidden;
    return place;
}

static int64_t weights(const Layers *layers) { return bias_place(layers, layers->layers * layers->directions, 0); }

EXPORT int cudnnGetRNNWeightSpaceSize(void *dnn, const Layers *layers, size_t *bytes)
{
    (void)dnn;
    *bytes = (size_t)weights(layers) * dnn_width(layers->type);
    return SUCCESS;
}

/* Tell where a part of the weights lies and what shape it has; none where it has no rows. Who does not ask gives NULL. */
static void tell(Tensor *tensor, char **address, const Layers *layers, char *space, int64_t place, int64_t rows, int64_t columns)
{
    if (tensor)
        *tensor = rows ? (Tensor){.type = layers->type, .number = 3, .dimensions = {1, (int)rows, (int)columns},
                                  .strides = {(int)(rows * columns), (int)columns, 1}} : (Tensor){0};
    if (address) *address = rows ? space + (size_t)place * dnn_width(layers->type) : NULL;
}

EXPORT int cudnnGetRNNWeightParams(void *dnn, const Layers *layers, int layer, size_t bytes, char *space, int id,
                                   Tensor *matrix, char **matrix_address, Tensor *bias, char **bias_address)
{
    (void)dnn, (void)bytes;
    tell(matrix, matrix_address, layers, space, matrix_place(layers, layer, id),
         id < matrices(layers) ? rows(layers, id) : 0, columns(layers, layer, id));
    tell(bias, bias_address, layers, space, bias_place(layers, layer, id), has_bias(layers, id) ? layers->hidden : 0, 1);
    return SUCCESS;
}

EXPORT int cudnnGetRNNTempSpaceSizes(void *dnn, const Layers *layers, int mode, const Sequence *sequence, size_t *workspace,
                                     size_t *reserve)
{
    (void)dnn;
    /* Values of the reserve for each step, sample and hidden unit: so many a layer, less one. */
    int held = layers->cell == LSTM ? 6 : layers->cell == GRU ? 7 : 2;
    size_t width = dnn_width(layers->type), values = (size_t)(held * layers->layers - 1) * (size_t)layers->directions;
    if (workspace) *workspace = (size_t)(1.45 * (double)weights(layers) * (double)width);
    if (reserve) *reserve = mode == TRAINING ? values * (size_t)sequence->samples * (size_t)layers->hidden * width : 0;
    return SUCCESS;
}
