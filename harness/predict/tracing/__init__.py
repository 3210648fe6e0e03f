"""Records what a training allocates and frees, on tensors without memory.

Runs in a probe of its own, which is never measured; knows torch.
"""
