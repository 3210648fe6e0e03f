"""The tasks of a probe: train one batch size, describe the workload, sweep the learning rate.

Runs in probes, which are forks of a zygote that has imported these modules. Knows torch and
Lightning; imports nothing of pytest's process, because every module here lies in the heap that is
measured.
"""
