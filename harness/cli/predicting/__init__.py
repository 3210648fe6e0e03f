"""The verb `gpu-profile predict`: its cases, and the changes that `--what-if` tries.

Runs in the process of the command. Imports no torch.
"""
