"""Measures one case: search, soak, validation and LR range test -> `Measurement`.

Runs in pytest's process; knows no torch. May import probes, search, LR range, bounds and
predictions.
"""
