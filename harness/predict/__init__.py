"""The prediction of the largest batch for a GPU that is not here.

A prediction is the search of a measurement, with the same probes, on a simulated GPU of that kind:
torch's own CUDA build counts the memory. Runs in pytest's process. May import `batch_search`,
`simulated` and `devices`.
"""
