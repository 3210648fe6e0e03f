"""Explains the failure of a probe: memory ran out, the machine failed, or the workload did.

Runs in the zygote and its probes, which have torch. `out_of_space` imports no torch: pytest's
process also reads the output of dead probes with it. May import `harness.errors` and the loaders of
`harness.workload`.
"""
