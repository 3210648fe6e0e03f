"""CUDA's operators in the place of the CPU's, as far as what they keep in memory differs.

Runs in the probes that trace; knows torch.
"""
