"""Looks at a project's source and at this machine, and writes a first matrix for them.

Runs in the process of the command `gpu-profile`. Reads source files and imports nothing of them.
May import `harness.matrix`, `harness.devices` and what is below these.
"""
