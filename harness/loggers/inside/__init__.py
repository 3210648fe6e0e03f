"""The process of a logger, `python -m harness.loggers.inside`: it makes the logger and logs.

Runs in that process alone. It imports what the logger's class_path names, and nothing of this
package.
"""
