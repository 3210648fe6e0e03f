"""A program that trains: starts it, looks into its processes, and tells how it ended.

Runs in a probe, which starts the program and waits for it; `inside` runs in the program's own
Python. May import memory bounds, descriptions of failures and the protocol's types. Imports no
torch itself: only `inside` finds the one that the program has imported.
"""
