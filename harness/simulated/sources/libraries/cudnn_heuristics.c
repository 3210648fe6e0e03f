/* Convolutions: NVIDIA's own cuDNN says which engines there are, and how much workspace each of them takes.
 *
 * It lies beside torch and does so without a GPU, from a description of the device (cuDNN 9.11 on; "deviceless" in
 * NVIDIA/cudnn-frontend's samples; openxla/xla fills in the description in the same way). So torch sees the engines, in
 * the order and with the notes that it would see on that GPU, and takes the first whose workspace it can allocate.
 *
 * Graphs of anything but convolutions are not asked about: some of their engines would be compiled for that.
 */
#define _GNU_SOURCE
#include "cudnn_graph.h"
#include "process.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* cudnnBackendAttributeName_t. */
enum { HEURISTICS_GRAPH = 201, HEURISTICS_RESULTS = 202, HEURISTICS_DEVICE = 204, CONFIGURATION_ENGINE = 300, PLAN_CONFIGURATION = 401,
       PLAN_DEVICE = 407, GRAPH_OPERATIONS = 801, ENGINE_GRAPH = 1300, ENGINE_DEVICE = 1307, DEVICE_JSON = 2702 };
enum { MAX_RESULTS = 256, FIRST_VERSION = 91100 };

static struct {
    int (*create)(int, void **);
    int (*destroy)(void *);
    int (*finalize)(void *);
    int (*set)(void *, int, int, int64_t, const void *);
    int (*get)(void *, int, int, int64_t, int64_t *, void *);
} cudnn;
static pthread_once_t opened = PTHREAD_ONCE_INIT;
static pthread_mutex_t describing = PTHREAD_MUTEX_INITIALIZER;

static void open_cudnn(void)
{
    /* Earlier ones crash over some of the questions. The small library that torch is linked with has that with the graphs
     * beside it. */
    if (DNN_VERSION < FIRST_VERSION) return;
    char path[4096 + 32];
    snprintf(path, sizeof path, "libcudnn.so.%d", DNN_VERSION < 90000 ? DNN_VERSION / 1000 : DNN_VERSION / 10000);
    void *linked = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    if (!linked || dlinfo(linked, RTLD_DI_ORIGIN, path)) return;
    snprintf(path + strlen(path), 32, "/libcudnn_graph.so.%d", DNN_VERSION / 10000);
    /* Bound deeply: it must find its own functions, and not those of this library. */
    void *graphs = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (!graphs) return;
    *(void **)&cudnn.destroy = dlsym(graphs, "cudnnBackendDestroyDescriptor");
    *(void **)&cudnn.finalize = dlsym(graphs, "cudnnBackendFinalize");
    *(void **)&cudnn.set = dlsym(graphs, "cudnnBackendSetAttribute");
    *(void **)&cudnn.get = dlsym(graphs, "cudnnBackendGetAttribute");
    if (cudnn.destroy && cudnn.finalize && cudnn.set && cudnn.get)
        *(void **)&cudnn.create = dlsym(graphs, "cudnnBackendCreateDescriptor");
}

static int attribute_number(int number)
{
    int cudaDeviceGetAttribute(int *, int, int), value = 0;
    cudaDeviceGetAttribute(&value, number, current_device());
    return value;
}

/* The current device, described to cuDNN; NULL: it does not know devices by a description. */
static void *described(void)
{
    static void *devices[MAX_GPUS];
    const Gpu *gpu = gpu_of(current_device());
    pthread_mutex_lock(&describing);
    void **device = &devices[world_index(current_device())];
    if (!*device && cudnn.create && !cudnn.create(DEVICE, device)) {
        char json[2048];
        int length = snprintf(
            json, sizeof json,
            "{\"deviceVer\":%d,\"multiProcessorCount\":%d,\"warpSize\":32,\"maxSharedMemoryPerBlock\":%d,"
            "\"maxSharedMemoryPerBlockOptin\":%d,\"reservedSharedMemoryPerBlock\":%d,\"maxRegistersPerSM\":%d,"
            "\"maxCtasPerSM\":%d,\"maxThreadsPerBlock\":%d,\"maxThreadsPerSM\":%d,\"regsPerBlock\":%d,\"totalGlobalMem\":%llu,"
            "\"smClockRateKHz\":%d,\"l2CacheSize\":%d,\"maxBlockSize\":[1024,1024,64],\"memClockRateKHz\":%d,"
            "\"maxGridSize\":[2147483647,65535,65535],\"supportCoopLaunch\":1,\"pciDeviceId\":0,\"isTccDriver\":0,"
            "\"cudaDeviceId\":0,\"driverVer\":%d,\"deviceName\":\"simulated\"}",
            gpu->major * 100 + gpu->minor * 10, gpu->sm_count, attribute_number(8), attribute_number(97),
            attribute_number(111), attribute_number(82), attribute_number(106), attribute_number(1), attribute_number(39),
            attribute_number(12), (unsigned long long)gpu->total, attribute_number(13), attribute_number(38),
            attribute_number(36), RUNTIME_VERSION);
        if (cudnn.set(*device, DEVICE_JSON, IS_CHARACTER, length, json) || cudnn.finalize(*device)) {
            cudnn.destroy(*device);
            *device = NULL;
        }
    }
    pthread_mutex_unlock(&describing);
    return *device;
}

static void *realize(Descriptor *made);

/* Set what was set on a descriptor, in that order; return a code. */
static int set_all(void *real, const Attribute *attribute)
{
    if (!attribute) return SUCCESS;
    int code = set_all(real, attribute->next);
    /* Handles are this library's; the description of the device stands for them. */
    if (code || attribute->type == IS_HANDLE) return code;
    if (attribute->type != IS_DESCRIPTOR)
        return cudnn.set(real, attribute->name, attribute->type, attribute->count, attribute->data);
    void *children[attribute->count + 1];
    for (int64_t i = 0; i < attribute->count; i++)
        if (!(children[i] = realize(((Descriptor **)attribute->data)[i]))) return NOT_SUPPORTED;
    return cudnn.set(real, attribute->name, IS_DESCRIPTOR, attribute->count, children);
}

static int set_device(void *real, int kind)
{
    int name = kind == HEURISTICS ? HEURISTICS_DEVICE : kind == ENGINE ? ENGINE_DEVICE : kind == PLAN ? PLAN_DEVICE : 0;
    void *device = name ? described() : NULL;
    return name ? cudnn.set(real, name, IS_DESCRIPTOR, 1, &device) : SUCCESS;
}

/* Make a descriptor in NVIDIA's cuDNN, and those that it names; return a code. */
static int make(Descriptor *made)
{
    void *real;
    int code = cudnn.create(made->kind, &real);
    if (code) return code;
    if (!(code = set_all(real, made->attributes)) && !(code = set_device(real, made->kind)) && !(code = cudnn.finalize(real)))
        made->real = real;
    else
        cudnn.destroy(real);
    return code;
}

static void *realize(Descriptor *made)
{
    if (!made->real && (made->kind == CONVOLUTION || made->kind == TENSOR ||
                        (made->kind >= OPERATION_FORWARD && made->kind <= OPERATION_GRADIENT_OF_DATA)))
        make(made);
    return made->real;
}

static int convolves(const Descriptor *graph)
{
    const Attribute *operations = attribute_of(graph, GRAPH_OPERATIONS);
    if (!operations || operations->type != IS_DESCRIPTOR) return 0;
    for (int64_t i = 0; i < operations->count; i++) {
        int kind = ((Descriptor **)operations->data)[i]->kind;
        if (kind < OPERATION_FORWARD || kind > OPERATION_GRADIENT_OF_DATA) return 0;
    }
    return operations->count > 0;
}

/* Whether a descriptor names one that NVIDIA's cuDNN has. */
static int names_real(const Descriptor *made, int name)
{
    const Attribute *named = attribute_of(made, name);
    return named && named->count && (*(Descriptor **)named->data)->real;
}

int heuristics_finalize(Descriptor *made)
{
    switch (made->kind) {
    case GRAPH: {
        Gpu *gpu = gpu_of(current_device());
        if (gpu->workspace != WORKSPACE_OF_CUDNN || !convolves(made)) return SUCCESS;
        pthread_once(&opened, open_cudnn);
        if (!described() || make(made)) gpu->workspaces_unknown = 1;
        return SUCCESS;
    }
    case HEURISTICS: if (names_real(made, HEURISTICS_GRAPH)) make(made); return SUCCESS;
    case ENGINE: return names_real(made, ENGINE_GRAPH) ? make(made) : SUCCESS;
    case CONFIGURATION: return names_real(made, CONFIGURATION_ENGINE) ? make(made) : SUCCESS;
    case PLAN: return names_real(made, PLAN_CONFIGURATION) ? make(made) : SUCCESS;
    default: return SUCCESS;
    }
}

int heuristics_answer(const Descriptor *of, int name, int type, int64_t asked, int64_t *count, void *data)
{
    if (type != IS_DESCRIPTOR || !data) return cudnn.get(of->real, name, type, asked, count, data);
    /* Who asks brings the descriptors that are to be filled in. */
    Descriptor **wanted = data;
    void *real[MAX_RESULTS];
    if (asked > MAX_RESULTS) asked = MAX_RESULTS;
    for (int64_t i = 0; i < asked; i++) {
        heuristics_forget(wanted[i]);
        int code = cudnn.create(wanted[i]->kind, &wanted[i]->real);
        if (code) return code;
        real[i] = wanted[i]->real;
    }
    return cudnn.get(of->real, name, type, asked, count, real);
}

void heuristics_forget(Descriptor *made)
{
    if (made->real) cudnn.destroy(made->real);
    made->real = NULL;
}
