"""A fleet of simulated GPUs for `fleet_scale.py`: its matrix, its nodes, and what cases find there.

Runs in pytest's process, and imports no torch. Nothing trains: what a case finds has the shape of a
real measurement, and the time that it takes passes on a virtual clock.
"""
