"""Tunes and estimates a training that stands in no matrix: `harness.tune`, `harness.estimate`.

A case is made of arguments in place of a file, and then measured or predicted as any other. Runs in
the user's process, a script or a notebook, and in the command. Imports torch only where an object
of the user's has to be copied to probes.
"""
