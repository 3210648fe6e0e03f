/* cuDNN's graphs: descriptors keep what is set on them, and one engine computes whatever is asked. */
#include "cudnn_graph.h"
#include "process.h"

#include <stdlib.h>
#include <string.h>

/* cudnnBackendAttributeName_t, as far as answers are computed. */
enum { HEURISTIC_RESULTS = 202, CONFIGURATION_ENGINE = 300, CONFIGURATION_WORKSPACE = 303, CONFIGURATION_SHARED = 304,
       PLAN_WORKSPACE = 402, NUMBER_OF_ENGINES = 802, ENGINE_INDEX = 1301 };

static size_t width(int type)
{
    switch (type) {
    case IS_HANDLE: case IS_INT64: case IS_DOUBLE: case IS_POINTER: case IS_DESCRIPTOR: return 8;
    case IS_BOOLEAN: case IS_CHARACTER: return 1;
    case IS_FRACTION: return 16;
    default: return 4;
    }
}

EXPORT int cudnnBackendCreateDescriptor(int kind, Descriptor **made)
{
    *made = calloc(1, sizeof **made);
    if (!*made) abort();
    (*made)->kind = kind;
    return SUCCESS;
}

EXPORT int cudnnBackendDestroyDescriptor(Descriptor *made)
{
    for (Attribute *next, *attribute = made ? made->attributes : NULL; attribute; attribute = next) {
        next = attribute->next;
        free(attribute);
    }
    if (made) heuristics_forget(made);
    free(made);
    return SUCCESS;
}

EXPORT int cudnnBackendFinalize(Descriptor *made)
{
    return heuristics_finalize(made);
}

EXPORT int cudnnBackendExecute(void *dnn, Descriptor *plan, Descriptor *arguments)
{
    (void)dnn, (void)plan, (void)arguments;
    return SUCCESS;
}

EXPORT int cudnnBackendSetAttribute(Descriptor *on, int name, int type, int64_t count, const void *data)
{
    size_t bytes = width(type) * (size_t)count;
    Attribute *attribute = calloc(1, sizeof *attribute + bytes);
    if (!attribute) abort();
    attribute->name = name;
    attribute->type = type;
    attribute->count = count;
    if (data) memcpy(attribute->data, data, bytes);
    /* The one that was set last is found first. */
    attribute->next = on->attributes;
    on->attributes = attribute;
    return SUCCESS;
}

const Attribute *attribute_of(const Descriptor *descriptor, int name)
{
    const Attribute *attribute = descriptor->attributes;
    while (attribute && attribute->name != name) attribute = attribute->next;
    return attribute;
}

static int64_t workspace(const Gpu *gpu)
{
    return gpu->workspace == WORKSPACE_OF_CUDNN ? 0 : (int64_t)gpu->workspace;
}

/* What was not set: an answer of the one engine; the number of answers. */
static int64_t computed(int name, int64_t *answer)
{
    switch (name) {
    case HEURISTIC_RESULTS: return 1;
    case NUMBER_OF_ENGINES: *answer = 1; return 1;
    case CONFIGURATION_WORKSPACE: case PLAN_WORKSPACE: *answer = workspace(gpu_of(current_device())); return 1;
    case CONFIGURATION_ENGINE: case CONFIGURATION_SHARED: case ENGINE_INDEX: return 1;
    default: return 0;
    }
}

EXPORT int cudnnBackendGetAttribute(const Descriptor *of, int name, int type, int64_t asked, int64_t *count, void *data)
{
    const Attribute *set = attribute_of(of, name);
    if (set) {
        int64_t most = set->count < asked ? set->count : asked;
        if (data) memcpy(data, set->data, width(type) * (size_t)most);
        if (count) *count = set->count;
        return SUCCESS;
    }
    int none = name == HEURISTIC_RESULTS && strikes(FAULT_ENGINE, current_device());
    if (of->real && !none) return heuristics_answer(of, name, type, asked, count, data);
    int64_t answer = 0, found = none ? 0 : computed(name, &answer);
    /* Descriptors that are asked for were made by who asks, and stay as they are. */
    if (found && data && asked > 0 && type != IS_DESCRIPTOR) memcpy(data, &answer, width(type) < 8 ? width(type) : 8);
    if (count) *count = found;
    return SUCCESS;
}
