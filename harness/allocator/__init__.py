"""The rules of torch's CUDA caching allocator, and the replay of a probe's allocations by them.

The search aims with it; what fits is decided by torch's own allocator. Runs in pytest's process.
Pure: no torch. Imports errors and the names of the environment variables.
"""
