"""From a history of allocations and frees to what holds the memory. Pure: no torch."""

from __future__ import annotations

import os
from typing import Any

import torch

from harness.held_memory.memory_history import History, Label, Mark, PhaseMark, active_blocks
from harness.held_memory.user_code import UserCode

FILE, LIBRARY, TORCH = "work.py", f"{os.sep}site-packages{os.sep}timm{os.sep}vit.py", torch.__file__
CHECKPOINT = str(torch.__path__[0]) + "/utils/checkpoint.py"
PHASES = (PhaseMark(0, "model"), PhaseMark(1, "step 1 forward"), PhaseMark(4, "step 2 forward"))


def frames(*places: tuple[str, int]) -> list[dict[str, Any]]:
    """Return a stack, the innermost frame first."""
    return [{"filename": file, "line": line, "name": "forward"} for file, line in places]


def alloc(address: int, size: int, *places: tuple[str, int]) -> dict[str, Any]:
    """Return torch's entry of an allocation."""
    return {"action": "alloc", "addr": address, "size": size, "frames": frames(*places)}


def free(address: int) -> dict[str, Any]:
    """Return torch's entry of a free."""
    return {"action": "free_requested", "addr": address, "size": 0}


def summary(
    entries: list[dict[str, Any]],
    marks: list[Mark],
    labels: list[Label] | None = None,
    before: dict[int, int] | None = None,
) -> dict[str, Any]:
    """Return the summary of a whole history."""
    history = History(entries, before or {})
    history.attribute(marks, labels or [], UserCode())
    return history.summary(PHASES, len(history.events))


def test_holders_are_those_at_the_first_peak() -> None:
    """What was freed before the peak, or allocated after it, is not there."""
    entries = [alloc(1, 5), free(1), alloc(2, 7), alloc(3, 4), free(2), alloc(1, 6)]
    found = summary(entries, [Mark(0, "activation", "a", ""), Mark(3, "activation", "b", "")])
    assert 11 == found["peak_bytes"]
    assert [["activation", "a", "", 7], ["activation", "b", "", 4]] == found["holders"]


def test_phase_is_that_of_the_peak() -> None:
    """A phase begins with the event of its number."""
    forward = summary([alloc(1, 1), alloc(2, 1), free(2), free(1), alloc(1, 1)], [])
    later = summary([alloc(1, 1), alloc(2, 1), free(2), free(1), alloc(1, 9)], [])
    assert ["step 1 forward", "step 2 forward"] == [forward["phase"], later["phase"]]


def test_mark_counts_for_the_event_of_its_number() -> None:
    """Of two marks with one number the later one counts."""
    marks = [Mark(0, "input", "", ""), Mark(1, "activation", "a", ""), Mark(1, "optimizer", "", "")]
    found = summary([alloc(1, 2), alloc(2, 3)], marks)
    assert [["optimizer", "", "", 3], ["input", "", "", 2]] == found["holders"]


def test_label_is_of_the_block_that_is_live_then() -> None:
    """A later block at the same address is another one."""
    entries = [alloc(1, 3, (FILE, 1)), free(1), alloc(1, 5, (FILE, 2)), alloc(2, 1, (FILE, 3))]
    marks, label = [Mark(0, "activation gradient", "a", "")], Label(3, 1, "gradient")
    found = summary(entries, marks, [Label(1, 1, "parameter"), label, Label(3, 9, "parameter")])
    assert [["gradient", "", "", 5], ["activation gradient", "a", "work.py:3", 1]] == found[
        "holders"
    ]


def test_blocks_from_before_are_held_too() -> None:
    """A workload that uses the GPU while it is built has blocks that no entry tells of."""
    found = summary([alloc(2, 1), free(1), free(8)], [], [Label(0, 1, "parameter")], {1: 4})
    assert 5 == found["peak_bytes"]
    assert ["parameter", "", "", 4] in found["holders"]


def test_line_is_the_innermost_that_torch_has_not() -> None:
    """Lines of torch and of what runs the training say nothing; a network's library does."""
    entries = [
        alloc(1, 4, (TORCH, 9), (FILE, 33), (FILE, 7)),
        alloc(2, 2, (TORCH, 9), (LIBRARY, 5), (FILE, 7)),
        alloc(3, 1, (TORCH, 9), ("<string>", 1)),
    ]
    found = summary(entries, [Mark(0, "activation", "a", "")])
    assert ["work.py:33", f"timm{os.sep}vit.py:5", ""] == [one[2] for one in found["holders"]]


def test_line_of_a_mark_serves_where_the_stack_has_none() -> None:
    """Operators of a backward pass have no stack, and those of the user's own functions have."""
    entries = [alloc(1, 2, (TORCH, 9)), alloc(2, 1, (FILE, 8), (TORCH, 9))]
    found = summary(entries, [Mark(0, "activation gradient", "a", "work.py:33")])
    assert ["work.py:33", "work.py:8"] == [one[2] for one in found["holders"]]


def test_what_is_computed_again_in_a_backward_pass_is_an_activation() -> None:
    """The stack goes through torch's checkpointing, also where no module begins."""
    entries = [alloc(1, 2, (FILE, 8), (CHECKPOINT, 5)), alloc(2, 1, (FILE, 8))]
    found = summary(entries, [Mark(0, "activation gradient", "a", "")])
    assert ["activation", "activation gradient"] == [one[0] for one in found["holders"]]


def test_what_is_given_back_at_the_end_is_named() -> None:
    """Only what is freed between two events is a workspace."""
    entries = [alloc(1, 3), alloc(2, 2), alloc(3, 1), free(1), free(2), free(3)]
    history = History(entries, {})
    history.attribute([], [], UserCode())
    history.name_freed(4, 5, "workspace", "cuBLAS")
    found = history.summary(PHASES, 3)
    assert ["workspace", "cuBLAS", "", 2] in found["holders"]
    assert 1 == sum(one[0] == "workspace" for one in found["holders"])


def test_timeline_is_of_the_last_step() -> None:
    """It begins with what is live before the step, and has the changes of each kind."""
    entries = [alloc(1, 3), alloc(2, 2), free(2), alloc(2, 4), alloc(3, 5), free(3)]
    marks = [Mark(0, "parameter", "", ""), Mark(1, "activation", "", "")]
    timeline = summary(entries, marks)["timeline"]
    kinds = timeline["kinds"]
    start = {"parameter": 3, "activation": 4}
    assert [start.get(kind, 0) for kind in kinds] == timeline["start"]
    activation = kinds.index("activation")
    assert [[activation, 5], [activation, -5]] == timeline["events"]
    assert [[0, "forward"]] == timeline["phases"]


def test_active_blocks_are_those_that_tensors_have() -> None:
    """Freed blocks that the allocator keeps do not count; sizes are those that were asked for."""
    blocks = [
        {"address": 1, "size": 512, "requested_size": 500, "state": "active_allocated"},
        {"address": 2, "size": 512, "requested_size": 500, "state": "inactive"},
    ]
    assert {1: 500} == active_blocks([{"blocks": blocks}])
