"""Tells where the memory of a training's peak goes: by kind, by module, and for each sample.

Runs in pytest's process and in the command. Pure: imports plain data, and `units`.
"""
