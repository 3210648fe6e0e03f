"""One run of `pytest --gpu-profile`: hooks, fixture, session, results.

Runs in pytest's process, on the controller and on xdist's workers. Imported only when the flag is
given. May import everything but the command and `train_time`.
"""
