"""Reads and sets the locked values in training: `harness.load_profile` and `harness.apply`.

Runs in training scripts. Imports neither torch nor pytest nor pydantic, and NVML only to identify
this machine's GPU.
"""
