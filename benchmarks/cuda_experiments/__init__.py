"""The experiments of cuda_session.py, by subject. NVIDIA's bindings have the name `cuda`."""
