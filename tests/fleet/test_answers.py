"""The answer of a node: a measurement or an error, and nothing else, whatever a node sends."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from measurements import measurement

from harness.errors import MachineError
from harness.fleet import answers
from harness.matrix.cases import load_matrix
from harness.measurement import LrCurve, Probe

if TYPE_CHECKING:
    from pathlib import Path

    from harness.matrix.case import Case

MATRIX = """\
version: 1
matrix: {model: [net], gpu: [h200], resolution: [1]}
models: {net: {module: {class_path: zoo.Net}, data: {class_path: zoo.Numbers}}}
gpus: {h200: {name: NVIDIA H200}}
"""


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Return a case."""
    path = tmp_path / "matrix.yaml"
    path.write_text(MATRIX)
    return load_matrix(path)[0]


def packed(data: Any) -> bytes:
    """Pack data as a node does."""
    return zlib.compress(json.dumps(data).encode())


def test_measurement_arrives_as_it_is(case: Case) -> None:
    """Curves that diverge, probes and notes survive; paths are those of the run's machine."""
    there = measurement(
        axes=case.axes,
        lr_curves=(LrCurve(0, (1e-3, 1e-2), (2.5, float("inf"))),),
        probes=(Probe(4, "fits", notes=("a",), log="/there/net/1.log"),),
        artifacts=("/there/net/lr_range.png",),
    )
    here = answers.read(answers.of_measurement(there, {"/there": "/run/.gpu-profile"}), case, "a")
    moved = measurement(
        axes=case.axes,
        lr_curves=there.lr_curves,
        probes=(Probe(4, "fits", notes=("a",), log="/run/.gpu-profile/net/1.log"),),
        artifacts=("/run/.gpu-profile/net/lr_range.png",),
    )
    assert moved == here


def test_error_arrives_with_its_kind(case: Case) -> None:
    """Trouble of the machine there is trouble of the machine here."""
    found = answers.read(answers.of_error(MachineError("the GPU is lost"), {}), case, "node a")
    assert (MachineError, "on node a: the GPU is lost") == (type(found), str(found))


def test_answer_of_another_case_is_refused(case: Case) -> None:
    """A measurement with other axes is no answer."""
    with pytest.raises(answers.UnreadableAnswerError, match="of another case"):
        answers.read(answers.of_measurement(measurement(), {}), case, "a")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no zlib",
        packed(None),
        packed([]),
        packed({}),
        packed({"measurement": None}),
        packed({"measurement": {}}),
        packed({"error": {"kind": "unknown", "message": "", "detail": "", "log": None}}),
        packed({"error": {"kind": "machine", "message": 1, "detail": "", "log": None}}),
        zlib.compress(b"[" * 100_000),
        zlib.compress(b"1" * (answers.MAX_BYTES + 1)),
    ],
)
def test_anything_else_is_refused(case: Case, answer: bytes) -> None:
    """What is no answer is an error of its own, and nothing worse."""
    with pytest.raises(answers.UnreadableAnswerError):
        answers.read(answer, case, "a")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_batch_size", "16"),
        ("max_batch_size", -1),
        ("max_batch_size", True),
        ("batch_size", 3713),  # more than the largest: the lockfile could not be read back
        ("warnings", "text"),
        ("device", {"name": "cpu"}),
        ("probes", [{"batch_size": 1, "outcome": "won"}]),
        ("artifacts", [1]),
        ("bounded_by", "\u001b[31m"),
        ("source", "predicted"),
    ],
)
def test_values_of_other_types_are_refused(case: Case, name: str, value: object) -> None:
    """A report and a lockfile can be made of what is let in."""
    data = measurement(axes=case.axes).to_json() | {name: value}
    with pytest.raises(answers.UnreadableAnswerError):
        answers.read(packed({"measurement": data}), case, "a")
