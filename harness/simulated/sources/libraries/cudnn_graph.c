/* cuDNN's graphs: descriptors keep what is set on them, and one engine computes whatever is asked. */
#include "process.h"

#include <stdlib.h>
#include <string.h>

/* cudnnBackendAttributeType_t, by width. */
enum { IS_BOOLEAN = 2, IS_INT64 = 3, IS_DOUBLE = 5, IS_POINTER = 6, IS_DESCRIPTOR = 15, IS_CHARACTER = 24, IS_FRACTION = 26 };
/* cudnnBackendAttributeName_t, as far as answers are computed. */
enum { HEURISTIC_RESULTS = 202, CONFIGURATION_ENGINE = 300, CONFIGURATION_WORKSPACE = 303, CONFIGURATION_SHARED = 304,
       PLAN_WORKSPACE = 402, NUMBER_OF_ENGINES = 802, ENGINE_INDEX = 1301 };

typedef struct Attribute {
    struct Attribute *next;
    int name;
    int64_t count;
    char data[];
} Attribute;

typedef struct { int kind; Attribute *attributes; } Descriptor;

static size_t width(int type)
{
    switch (type) {
    case 0: case IS_INT64: case IS_DOUBLE: case IS_POINTER: case IS_DESCRIPTOR: return 8;
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
    free(made);
    return SUCCESS;
}

EXPORT int cudnnBackendFinalize(Descriptor *made)
{
    (void)made;
    return SUCCESS;
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
    attribute->count = count;
    if (data) memcpy(attribute->data, data, bytes);
    /* The one that was set last is found first. */
    attribute->next = on->attributes;
    on->attributes = attribute;
    return SUCCESS;
}

/* What was not set: an answer of the one engine; the number of answers. */
static int64_t computed(int name, int64_t *answer)
{
    switch (name) {
    case HEURISTIC_RESULTS: return !strikes(FAULT_ENGINE, current_device());
    case NUMBER_OF_ENGINES: *answer = 1; return 1;
    case CONFIGURATION_WORKSPACE: case PLAN_WORKSPACE: *answer = (int64_t)gpu_of(current_device())->workspace; return 1;
    case CONFIGURATION_ENGINE: case CONFIGURATION_SHARED: case ENGINE_INDEX: return 1;
    default: return 0;
    }
}

EXPORT int cudnnBackendGetAttribute(const Descriptor *of, int name, int type, int64_t asked, int64_t *count, void *data)
{
    for (const Attribute *attribute = of->attributes; attribute; attribute = attribute->next) {
        if (attribute->name != name) continue;
        int64_t most = attribute->count < asked ? attribute->count : asked;
        if (data) memcpy(data, attribute->data, width(type) * (size_t)most);
        if (count) *count = attribute->count;
        return SUCCESS;
    }
    int64_t answer = 0, found = computed(name, &answer);
    /* Descriptors that are asked for were made by who asks, and stay as they are. */
    if (found && data && asked > 0 && type != IS_DESCRIPTOR) memcpy(data, &answer, width(type) < 8 ? width(type) : 8);
    if (count) *count = found;
    return SUCCESS;
}
