/* A communicator of NCCL. */
#ifndef COMMUNICATOR_H
#define COMMUNICATOR_H

#include "messages.h"

enum { UNHANDLED_CUDA_ERROR = 1, REMOTE_ERROR = 6 }; /* ncclResult_t */

typedef struct {
    Address here;
    int device;
    uint64_t collectives; /* how many it has been given */
    uint64_t sent[];      /* to each rank; behind them, how many were received from each */
} Communicator;

#endif
