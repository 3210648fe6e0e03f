"""Values that a training reads from a simulated GPU: zeros that agree with each other.

`table` replaces torch's functions that read values, by the rules of `rules` and `sizes`.

Runs in a probe on a simulated GPU, and nowhere else: on the CPU each module counts in the memory.
"""
