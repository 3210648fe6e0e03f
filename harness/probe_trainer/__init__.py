"""Makes the Trainer of a probe of the user's parts, with a length and an end that are the probe's.

Runs in probes. May import what `harness.probe_tasks` may, but nothing of it.
"""
