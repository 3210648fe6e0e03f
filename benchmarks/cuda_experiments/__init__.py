"""The experiments of cuda_session.py, by subject. Not called `cuda`: NVIDIA's own bindings are."""
