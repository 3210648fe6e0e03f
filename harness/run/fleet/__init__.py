"""Runs the tests of cases that a cluster measures, in the order in which it finishes them.

Runs in pytest's process. May import pytest, and of the package what `run` may.
"""
