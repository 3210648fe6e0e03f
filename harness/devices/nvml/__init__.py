"""Reads through NVML which GPUs this machine has, and their memory, processes and health.

Runs in pytest's process and at train time. Starts no CUDA and imports no torch. May import
`harness.errors` and `harness.measurement`.
"""
