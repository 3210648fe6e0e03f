"""A simulation of torch's CUDA caching allocator, and the replay of allocations through it.

Runs in pytest's process; `live` also in probes that trace. Pure: no torch. Imports errors and the
names of the environment variables.
"""
