/* Looks into the Python that runs this process: where it was when memory peaked, and a module that it is to run.
 *
 * Memory is allocated deep inside torch, under its allocator's lock and without Python's lock. Taking Python's lock there
 * could wait for ever. So Python is asked to call back: it does so in its main thread, with its lock, as soon as the
 * call of C code that it is in has returned. Then the same line is still running.
 */
#define _GNU_SOURCE
#include "process.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The innermost frames are torch's; deeper stacks than this are not read. */
enum { MOST_FRAMES = 400 };

typedef void Object;
static struct {
    int (*add_pending_call)(int (*)(void *), void *);
    int (*run_string)(const char *);
    Object *(*frame)(void), *(*back)(Object *), *(*code)(Object *);
    int (*line)(Object *);
    Object *(*attribute)(Object *, const char *);
    const char *(*text)(Object *);
    void (*keep)(Object *), (*release)(Object *), (*clear)(void);
} python;
static const char *inside; /* the module that Python is to run */
static int asked;

static int found_python(void)
{
    static const struct { void *place; const char *name; } NEEDED[] = {
        {&python.add_pending_call, "Py_AddPendingCall"}, {&python.run_string, "PyRun_SimpleString"},
        {&python.frame, "PyEval_GetFrame"},              {&python.back, "PyFrame_GetBack"},
        {&python.code, "PyFrame_GetCode"},               {&python.line, "PyFrame_GetLineNumber"},
        {&python.attribute, "PyObject_GetAttrString"},   {&python.text, "PyUnicode_AsUTF8"},
        {&python.keep, "Py_IncRef"},                     {&python.release, "Py_DecRef"},
        {&python.clear, "PyErr_Clear"},
    };
    for (size_t i = 0; i < sizeof NEEDED / sizeof *NEEDED; i++) {
        void *found = dlsym(RTLD_DEFAULT, NEEDED[i].name);
        if (!found) return 0;
        memcpy(NEEDED[i].place, &found, sizeof found);
    }
    return 1;
}

/* Copy an attribute that is a text; an empty one where it is none. */
static void read_text(Object *object, const char *name, char *text, size_t size)
{
    Object *value = python.attribute(object, name);
    const char *found = value ? python.text(value) : NULL;
    if (!found) python.clear();
    /* Of a long path the end tells more than the beginning. */
    size_t length = found ? strlen(found) : 0;
    snprintf(text, size, "%s", found ? found + (length >= size ? length - size + 1 : 0) : "");
    if (value) python.release(value);
}

/* Whether a file belongs to the user, and not to what is installed or made by a compiler. 1: it has no name. */
static int is_users(const char *file)
{
    if (!strcmp(file, "<string>") || !strcmp(file, "<stdin>")) return 1;
    return 2 * (*file && *file != '<' && strcmp(file, inside) && !strstr(file, "/site-packages/") && !strstr(file, "/dist-packages/")
        && !strstr(file, "/lib/python3") && !strstr(file, "/simulated-kernels/") && !strstr(file, "/torchinductor_"));
}

static Phase phase_of(const char *file, const char *function)
{
    if (!strcmp(function, "_engine_run_backward")) return BACKWARD_PASS;
    if (strstr(file, "/torch/optim/")) return OPTIMIZER_STEP;
    if (strstr(file, "/torch/nn/modules/module.py") && strstr(function, "_call_impl")) return FORWARD_PASS;
    return NO_PHASE;
}

/* Called by Python. The user's innermost frame is the place; where there is none, it is the innermost of all. */
static int look(void *data)
{
    char file[FILE_TEXT], function[FUNCTION_TEXT], place_file[FILE_TEXT] = "", place_function[FUNCTION_TEXT] = "";
    int line = 0, is_found = 0;
    Phase phase = NO_PHASE;
    (void)data;
    __atomic_store_n(&asked, 0, __ATOMIC_RELEASE);
    Object *frame = python.frame();
    if (frame) python.keep(frame);
    for (int depth = 0; frame && depth < MOST_FRAMES; depth++) {
        Object *code = python.code(frame);
        read_text(code, "co_filename", file, sizeof file);
        read_text(code, "co_name", function, sizeof function);
        python.release(code);
        /* What is computed again in the backward pass belongs to it. */
        Phase told = phase_of(file, function);
        if (!phase || told == BACKWARD_PASS) phase = told;
        /* multiprocessing runs what it spawns from a text, and the user's file is below it. */
        if (!line || is_users(file) > is_found) {
            line = python.line(frame);
            is_found = is_users(file);
            memcpy(place_file, file, sizeof file);
            memcpy(place_function, function, sizeof function);
        }
        Object *back = python.back(frame);
        python.release(frame);
        frame = back;
    }
    if (frame) python.release(frame);
    if (line > 0) peaks_where(place_file, line, place_function, phase);
    return 0;
}

static void ask(void)
{
    if (__atomic_exchange_n(&asked, 1, __ATOMIC_ACQ_REL)) return;
    /* Its queue may be full; then the next peak asks again. */
    if (python.add_pending_call(look, NULL)) __atomic_store_n(&asked, 0, __ATOMIC_RELEASE);
}

/* Called by Python. */
static int run(void *data)
{
    char text[8192];
    (void)data;
    snprintf(text, sizeof text, "exec(compile(open(r'%s').read(), r'%s', 'exec'), {'__name__': 'gpu_profile_inside'})\n",
             inside, inside);
    python.run_string(text);
    return 0;
}

void watch_python(void)
{
    inside = getenv("GPU_PROFILE_SIMULATED_INSIDE");
    if (!inside || !*inside || !found_python()) return;
    python.add_pending_call(run, NULL);
    peaks_listen(ask);
}
