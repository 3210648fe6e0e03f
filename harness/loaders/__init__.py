"""Makes the user's loaders give the full batches that a probe asks for, and counts their samples.

Runs in the zygote and its probes. Imports torch; may import `harness.workload`, and what that may.
"""
