"""The command `gpu-profile`: questions about matrix and lockfile outside pytest, a module per verb.

Runs in a process of its own, in place of pytest's. May import everything but `train_time`.
"""

from harness.cli.command_line import main

__all__ = ["main"]
