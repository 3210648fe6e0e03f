/* cuFFT, cuSOLVER and cuSPARSE: what their functions hand out, and how much workspace they ask for.
 *
 * These workspaces are documented nowhere. cuFFT's is assumed to be one copy of the data; cuSOLVER and cuSPARSE ask for a
 * token number, so that torch's way through workspaces is taken.
 */
#include "process.h"
#include "streams.h"

/* Elements for the functions that count elements, bytes for the others. */
enum { TOKEN = 4096, SOLVER_NOT_INITIALIZED = 1 };

#define MAKES(name) EXPORT int name(void **made) { return *made = handle(), SUCCESS; }

EXPORT int cusolverDnCreate(void **solver)
{
    if (ready()) return SOLVER_NOT_INITIALIZED;
    int code = strikes(FAULT_CUSOLVER, current_device());
    if (!code) *solver = handle();
    return code;
}

MAKES(cusolverDnCreateGesvdjInfo)
MAKES(cusolverDnCreateSyevjInfo)
MAKES(cusolverDnCreateParams)
MAKES(cusparseCreate)
MAKES(cusparseCreateMatDescr)
MAKES(cusparseCreateBsrsm2Info)
MAKES(cusparseCreateBsrsv2Info)
MAKES(cusparseCreateDnMat)
MAKES(cusparseCreateDnVec)
MAKES(cusparseSpGEMM_createDescr)
MAKES(cusparseSpSM_createDescr)
MAKES(cusparseSpSV_createDescr)

/* Sizes stand behind this many other arguments; each argument takes a register or a place of the stack. */
typedef uint64_t Word;
#define ANSWERS(name, type, ...) EXPORT int name(__VA_ARGS__, type *size) { return *size = TOKEN, SUCCESS; }
#define ANSWERS_TWO(name, ...) \
    EXPORT int name(__VA_ARGS__, size_t *size, size_t *of_host) { return *size = TOKEN, *of_host = TOKEN, SUCCESS; }
#define W2(a, b) Word a, Word b
#define W3 W2(a, b), Word c
#define W4 W3, Word d
#define W5 W4, Word e
#define W6 W5, Word f
#define W7 W6, Word g
#define W8 W7, Word h
#define W9 W8, Word i
#define W10 W9, Word j
#define W11 W10, Word k
#define W12 W11, Word l
#define W13 W12, Word m
#define W16 W13, Word n, Word o, Word p
#define W17 W16, Word q
#define W19 W17, Word r, Word s

#pragma GCC diagnostic ignored "-Wunused-parameter"

#define FOR_EACH_TYPE(function, type, ...) \
    ANSWERS(cusolverDnS##function##_bufferSize, type, __VA_ARGS__) \
    ANSWERS(cusolverDnD##function##_bufferSize, type, __VA_ARGS__) \
    ANSWERS(cusolverDnC##function##_bufferSize, type, __VA_ARGS__) \
    ANSWERS(cusolverDnZ##function##_bufferSize, type, __VA_ARGS__)
#define FOR_REAL(function, ...) \
    ANSWERS(cusolverDnS##function##_bufferSize, int, __VA_ARGS__) \
    ANSWERS(cusolverDnD##function##_bufferSize, int, __VA_ARGS__)
#define FOR_COMPLEX(function, ...) \
    ANSWERS(cusolverDnC##function##_bufferSize, int, __VA_ARGS__) \
    ANSWERS(cusolverDnZ##function##_bufferSize, int, __VA_ARGS__)

FOR_EACH_TYPE(geqrf, int, W5)
FOR_EACH_TYPE(gesvd, int, W3)
FOR_EACH_TYPE(gesvdaStridedBatched, int, W16)
FOR_EACH_TYPE(gesvdjBatched, int, W11)
FOR_EACH_TYPE(gesvdj, int, W12)
FOR_EACH_TYPE(getrf, int, W5)
FOR_EACH_TYPE(potrf, int, W5)
FOR_EACH_TYPE(sytrf, int, W4)
FOR_REAL(syevd, W7)
FOR_REAL(syevj, W7)
FOR_REAL(syevjBatched, W7)
FOR_REAL(orgqr, W7)
FOR_REAL(ormqr, W11)
FOR_COMPLEX(heevd, W7)
FOR_COMPLEX(heevj, W7)
FOR_COMPLEX(heevjBatched, W7)
FOR_COMPLEX(ungqr, W7)
FOR_COMPLEX(unmqr, W11)
ANSWERS_TWO(cusolverDnXgeqrf_bufferSize, W10)
ANSWERS_TWO(cusolverDnXpotrf_bufferSize, W8)
ANSWERS_TWO(cusolverDnXsyevd_bufferSize, W11)
ANSWERS_TWO(cusolverDnXsyevBatched_bufferSize, W11)
ANSWERS_TWO(cusolverDnXsytrs_bufferSize, W11)
ANSWERS_TWO(cusolverDnXgeev_bufferSize, W17)

#define SPARSE_FOR_EACH_TYPE(function, type, ...) \
    ANSWERS(cusparseS##function, type, __VA_ARGS__) \
    ANSWERS(cusparseD##function, type, __VA_ARGS__) \
    ANSWERS(cusparseC##function, type, __VA_ARGS__) \
    ANSWERS(cusparseZ##function, type, __VA_ARGS__)

SPARSE_FOR_EACH_TYPE(bsrsm2_bufferSize, int, W13)
SPARSE_FOR_EACH_TYPE(bsrsv2_bufferSize, int, W11)
SPARSE_FOR_EACH_TYPE(csrgeam2_bufferSizeExt, size_t, W19)
ANSWERS(cusparseSDDMM_bufferSize, size_t, W10)
ANSWERS(cusparseSpMM_bufferSize, size_t, W10)
ANSWERS(cusparseSpMV_bufferSize, size_t, W9)
ANSWERS(cusparseSpSM_bufferSize, size_t, W10)
ANSWERS(cusparseSpSV_bufferSize, size_t, W9)
ANSWERS(cusparseXcoosort_bufferSizeExt, size_t, W6)
ANSWERS(cusparseXcsrsort_bufferSizeExt, size_t, W6)
ANSWERS(cusparseSpGEMM_workEstimation, size_t, W11)
ANSWERS(cusparseSpGEMM_compute, size_t, W11)
ANSWERS(cusparseLtMatmulGetWorkspace, size_t, W2(a, b))

typedef struct { int64_t rows, columns, values; } Sparse;

static int sparse(Sparse **made, int64_t rows, int64_t columns, int64_t values)
{
    *made = handle();
    **made = (Sparse){rows, columns, values};
    return SUCCESS;
}

EXPORT int cusparseCreateCsr(Sparse **made, int64_t rows, int64_t columns, int64_t values) { return sparse(made, rows, columns, values); }
EXPORT int cusparseCreateCoo(Sparse **made, int64_t rows, int64_t columns, int64_t values) { return sparse(made, rows, columns, values); }

EXPORT int cusparseSpMatGetSize(const Sparse *matrix, int64_t *rows, int64_t *columns, int64_t *values)
{
    *rows = matrix->rows;
    *columns = matrix->columns;
    *values = matrix->values;
    return SUCCESS;
}

/* How many values a sum has, and which pivot is zero: none. */
EXPORT int cusparseXcsrgeam2Nnz(W12, int *rows, int *values) { return *values = 0, SUCCESS; }
EXPORT int cusparseXbsrsm2_zeroPivot(W2(a, b), int *position) { return *position = -1, SUCCESS; }
EXPORT int cusparseXbsrsv2_zeroPivot(W2(a, b), int *position) { return *position = -1, SUCCESS; }

/* ---- cuFFT: plans are numbers */

enum { HALF = 2, DOUBLE = 1, COMPLEX_HALF = 6, COMPLEX_DOUBLE = 5 }; /* cudaDataType */

EXPORT int cufftCreate(int *plan)
{
    static int plans;
    *plan = __atomic_add_fetch(&plans, 1, __ATOMIC_RELAXED);
    return SUCCESS;
}

EXPORT int cufftXtMakePlanMany(int plan, int rank, const long long *lengths, Word a, long long b, long long c, int input, Word d,
                               long long e, long long f, int output, long long batch, size_t *workspace, int execution)
{
    size_t bytes = execution == DOUBLE || execution == COMPLEX_DOUBLE ? 16
        : execution == HALF || execution == COMPLEX_HALF ? 4 : 8;
    for (int i = 0; i < rank; i++) bytes *= (size_t)lengths[i];
    *workspace = bytes * (size_t)batch;
    return SUCCESS;
}
