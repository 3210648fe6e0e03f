"""Reads the matrix, a YAML file, into cases, and imports nothing that the matrix names.

Runs in pytest's process and in the command `gpu-profile`. It reads files and has no other side
effect. It imports neither torch nor pytest; of this package it may import `harness.case_names`,
`harness.units`, `harness.wording` and the protocol's types.
"""

from harness.matrix.case import Case
from harness.matrix.cases import load_matrix, parse_matrix
from harness.matrix.mistakes import MatrixError

__all__ = ["Case", "MatrixError", "load_matrix", "parse_matrix"]
