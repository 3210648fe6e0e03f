"""Measures the cases of a run on the machines of a cluster: which node can, and who tries again.

Runs in pytest's process, but for `on_node`, which runs in a process of the cluster on each node and
there stands for pytest's. Imports neither torch nor pytest; Ray only in `ray_cluster`, inside
functions. May import what measures a case, and nothing of `run`.
"""
