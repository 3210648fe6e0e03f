"""A simulated GPU: torch's own CUDA build over a library that counts memory and computes nothing.

`world` makes the file that says which GPUs there are, `environment` the variables under which a
process lives in it, `library` compiles what answers for CUDA. Runs in pytest's process and in
tests, and starts no CUDA itself. The library in `sources/` runs in every process of a world, and
`inside.py` in the Python of programs that know nothing of it; nobody imports that. May import
`harness.errors`, `harness.files`, `harness.measurement` and `harness.wording`. Imports no torch.
"""
