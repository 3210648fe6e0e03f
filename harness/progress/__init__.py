"""Live progress: what a case does is told here, and shown on a terminal or in a log.

Runs in pytest's process and in the command `gpu-profile`; under xdist workers send what they tell
to the controller. It may import the ground alone, and no torch. `rich` is imported in `block`,
inside a function: where nothing is drawn, it is not loaded.
"""
