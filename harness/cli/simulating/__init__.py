"""The verb `gpu-profile simulate`: any program on a simulated GPU, its peaks and its snapshots.

Runs in the process of the command. Imports no torch.
"""
