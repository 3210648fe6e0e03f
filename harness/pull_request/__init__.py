"""Keeps one comment on a pull request up to date with the results of its runs.

Runs in the command's process. May import report, lockfile and wording. What it reads comes from
strangers: report.json, the answers of a server, the comments of others.
"""
