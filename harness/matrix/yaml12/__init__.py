"""Reads YAML by the core schema of YAML 1.2, with the position of every key and item.

Runs in pytest's process. Imports nothing of this package.
"""

from harness.matrix.yaml12.nodes import Problem
from harness.matrix.yaml12.reader import Document, read_yaml

__all__ = ["Document", "Problem", "read_yaml"]
