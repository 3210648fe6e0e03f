/* cuBLAS and cuBLASLt: handles and modes, and one algorithm without a workspace. Multiplications do nothing. */
#include "process.h"
#include "streams.h"

#include <stdlib.h>
#include <string.h>

enum { BLAS_NOT_INITIALIZED = 1 };

typedef struct { void *stream; int math, pointers; } Blas;

static int made(Blas **blas, FaultKind kind)
{
    if (ready()) return BLAS_NOT_INITIALIZED;
    int code = strikes(kind, current_device());
    if (!code) *blas = handle();
    return code;
}

EXPORT int cublasCreate_v2(Blas **blas) { return made(blas, FAULT_CUBLAS); }
EXPORT int cublasLtCreate(Blas **blas) { return made(blas, FAULT_CUBLASLT); }

EXPORT int cublasDestroy_v2(Blas *blas)
{
    free(blas);
    return SUCCESS;
}

EXPORT int cublasLtDestroy(Blas *blas) { return cublasDestroy_v2(blas); }

EXPORT int cublasSetStream_v2(Blas *blas, void *stream)
{
    blas->stream = stream;
    return SUCCESS;
}

EXPORT int cublasGetStream_v2(Blas *blas, void **stream)
{
    *stream = blas->stream;
    return SUCCESS;
}

EXPORT int cublasSetMathMode(Blas *blas, int mode)
{
    blas->math = mode;
    return SUCCESS;
}

EXPORT int cublasGetMathMode(Blas *blas, int *mode)
{
    *mode = blas->math;
    return SUCCESS;
}

EXPORT int cublasSetPointerMode_v2(Blas *blas, int mode)
{
    blas->pointers = mode;
    return SUCCESS;
}

EXPORT int cublasGetPointerMode_v2(Blas *blas, int *mode)
{
    *mode = blas->pointers;
    return SUCCESS;
}

/* ---- cuBLASLt: what describes a product is made, filled in and thrown away */

static int described(void **made)
{
    *made = handle();
    return SUCCESS;
}

static int forgotten(void *described)
{
    free(described);
    return SUCCESS;
}

EXPORT size_t cublasLtGetVersion(void) { return RUNTIME_VERSION * 10; }
EXPORT int cublasLtMatmulDescCreate(void **made) { return described(made); }
EXPORT int cublasLtMatmulDescDestroy(void *made) { return forgotten(made); }
EXPORT int cublasLtMatrixLayoutCreate(void **made) { return described(made); }
EXPORT int cublasLtMatrixLayoutDestroy(void *made) { return forgotten(made); }
EXPORT int cublasLtMatmulPreferenceCreate(void **made) { return described(made); }
EXPORT int cublasLtMatmulPreferenceDestroy(void *made) { return forgotten(made); }

typedef struct { uint64_t algorithm[8]; size_t workspace; int state; float waves; int reserved[4]; } Heuristic;

EXPORT int cublasLtMatmulAlgoGetHeuristic(void *blas, void *product, void *a, void *b, void *c, void *d, void *preference,
                                          int asked, Heuristic *results, int *found)
{
    (void)blas, (void)product, (void)a, (void)b, (void)c, (void)d, (void)preference;
    *found = asked > 0;
    if (*found) memset(results, 0, sizeof *results);
    return SUCCESS;
}
