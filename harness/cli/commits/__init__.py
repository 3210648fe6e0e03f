"""The verbs about commits: `history` reads the lockfile's, `bisect` predicts the project's.

Runs in the command's process. May import everything that `cli` may.
"""
