/* Streams, events and the graphs that streams are captured into. */
#ifndef STREAMS_H
#define STREAMS_H

#include <stdint.h>

typedef struct Graph { uint64_t id, nodes; int capturing; } Graph;
typedef struct Stream { int priority, device; Graph *graph; } Stream;

/* What is captured from a stream now; NULL where nothing is. */
Graph *captured(Stream *stream);
/* Count what a stream is given, if it is captured. */
void enqueue(Stream *stream);
/* An object whose address is all that matters. */
void *handle(void);

#endif
