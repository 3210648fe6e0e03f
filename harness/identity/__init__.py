"""Identifies what a locked profile is for: a workload by fingerprint, its settings by recipe.

Runs in pytest's process (`recipe`), and in probes and training scripts (`fingerprint`). The latter
imports neither torch nor NumPy. May import matrix settings and the defaults of workloads.
"""
