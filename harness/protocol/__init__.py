"""Types the JSON lines between pytest's process, a case's zygote and its probes.

    pytest's process  --CaseSpec, then Request | Kill-->  zygote and its supervisors
    pytest's process  <--Ready | Failed, then Started, Progress, Ended | Broken, Idle per request--
    probe             --Report, one key at a time-->  its supervisor, which sums them up in Ended

`task` distinguishes requests, `event` events, and `accelerator` memory bounds. It costs a probe no
heap. `harness.probes.messages` checks by it what comes: user code could write into the pipes.

Runs in no process but pytest's, which checks messages by it; elsewhere type checkers alone read it.
"""
