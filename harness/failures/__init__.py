"""Explains the failure of a probe: memory ran out, the machine failed, or the workload did.

Runs in the zygote and its probes, which have torch. `out_of_space` and `broken_libraries` import no
torch: pytest's process also reads with them what probes have left. May import `harness.errors` and
the loaders of `harness.workload`.
"""
