"""Records what torch's allocators do in a training: on a GPU, and on the CPU.

Runs in the probe that finds out what holds the memory, and is imported by no other: on the CPU
each module counts in the memory. Imports `held_memory`, `memory_bounds` and the attribution.
"""
