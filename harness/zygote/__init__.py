"""The program `python -m harness.zygote`: builds a case's workload once, forks a probe per request.

Runs as a process of its own, the parent of all probes of a case. Imports torch to build the
workload, and nothing of pytest's process.
"""
