"""Makes environments that differ from the present one by a requirement alone.

Runs in the command's process. May import `simulated`, for the cache's folder.
"""

from harness.environments.layers import Layer, layer_of

__all__ = ["Layer", "layer_of"]
