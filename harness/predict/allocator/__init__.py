"""A simulation of torch's CUDA caching allocator, and the replay of a trace through it.

Runs in pytest's process. Pure: no torch.
"""
