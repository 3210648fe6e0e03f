"""Checks without a device whether profiles are locked, measured, and of today's workloads.

Runs in pytest's process, for `gpu-profile check` and for the preset `production`; imports neither
torch nor pytest. May import probes, identity and the lockfile.
"""
