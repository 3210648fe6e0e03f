"""Finds and holds the device of a case: the CPU with a memory budget, or a CUDA GPU.

Runs in pytest's process; at train time it finds out which GPU is here. Imports no torch. The limit
that probes enforce is in `harness.memory_bounds`.
"""
