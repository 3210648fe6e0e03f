"""Knows which micro-batches make a global batch exactly, on one process or on several.

Runs in pytest's process and in training scripts. Pure: imports neither torch nor pydantic.
"""
