"""A plugin of whole runs: their zygotes are forks of the Python of the tests that start them."""

from __future__ import annotations

from warm_zygotes import start_from_outside

from harness.probes import zygote_process

zygote_process.start_program = start_from_outside
