"""The prediction of the largest batch for a GPU that is not here.

A training of two steps is traced with fake tensors at two small batch sizes; the trace is
interpolated in the batch size and replayed through a simulation of torch's caching allocator. Only
`tracing` and what it imports know torch. Runs in pytest's process, but for `tracing` and
`cuda_operators`, which run in a probe of their own.
"""
