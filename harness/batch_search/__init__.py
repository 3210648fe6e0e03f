"""The search for a case's largest batch by its probes, on a GPU that is there or simulated.

Runs in pytest's process. Measurements and predictions share it: both ask an open case for probes,
and both replay what these record of their allocations. May import `probes`, `allocator` and
`search`.
"""
