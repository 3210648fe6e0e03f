"""The parts of `gpu-profile show` that say more than the lockfile's own text.

Runs in the process of the command, and imports neither torch nor pydantic.
"""
