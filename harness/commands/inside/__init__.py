"""Looks into the processes of a program: bounds their memory, counts steps, notes what fails.

Runs in the program's own Python, which may have another torch and no harness installed:
`sitecustomize` is what Python itself imports when it starts, because the folder is on PYTHONPATH,
and it waits for torch. May import memory bounds and descriptions of failures.
"""
