"""Holds what training scripts call: `harness.load_profile`, `harness.apply` and what is beside.

Runs in training scripts. Imports neither torch nor pytest nor pydantic, and NVML only to identify
this machine's GPU. `bare_model` alone imports what a measurement does: it is one.
"""
