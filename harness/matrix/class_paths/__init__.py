"""Looks up class paths in the source of modules: what a matrix names is not imported.

Runs in pytest's process and in the command `gpu-profile`; it imports `harness.wording` alone.
"""

from harness.matrix.class_paths.lookup import ClassPaths, Lookup

__all__ = ["ClassPaths", "Lookup"]
