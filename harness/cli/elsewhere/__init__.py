"""Predicts cases in another process: in a folder with other code, or in another environment.

Runs in the command's process; `program` runs in the other one. May import
everything that `cli` may.
"""
