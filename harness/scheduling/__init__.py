"""Decides which case runs next, on how many workers, and which cases a run leaves out.

Runs in pytest's process, on the controller of xdist's workers. Imports neither torch nor pytest;
xdist only in `one_at_a_time`. May import devices, check, lock_history and the report's estimate.
"""
