"""Says who holds the memory at its peak, from the allocator's history and the user's lines.

Runs in a probe, and in pytest's process for tests that are marked `gpu_memory`.
"""
