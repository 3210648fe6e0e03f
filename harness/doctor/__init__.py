"""Checks an installation, a machine and a project for `gpu-profile doctor`; changes nothing.

Runs in the command's process; torch is imported by a child alone. Runs no code of the checkout. May
import what a run uses to find its paths, the devices, the lockfile and the check of a lock.
"""
