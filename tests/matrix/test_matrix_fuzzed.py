"""Any text in a matrix gives, in time, either cases or an error that names file and line.

`fuzzing` describes the long version of these tests.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import yaml
from fuzzing import (
    HEX,
    HUGE,
    assert_places,
    examples,
    in_time,
    mutated,
    nasty,
    numbers,
    raw,
    texts,
    words,
)
from hypothesis import example, given
from hypothesis import strategies as st
from matrix_texts import EXAMPLE, RIGHT
from measurements import locked
from projects import TESTS

from harness.case_names import LABEL
from harness.identity.recipe import recipe
from harness.lockfile.profiles import Lock, parse_lock
from harness.lockfile.render import render
from harness.lockfile.toml_text import LockText
from harness.matrix.cases import load_matrix
from harness.matrix.mistakes import MatrixError
from harness.matrix.yaml12 import reader as yaml12

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = [
    text.replace("torch.nn.Linear", "zoo.Net").replace("profiles.workloads.", "zoo.")
    for text in (
        EXAMPLE.replace("ImageClassifier", "Net").replace("Digits", "Numbers"),
        RIGHT,
        (TESTS.parent / "profiles" / "matrix.yaml").read_text(encoding="utf-8")
        .replace("ImageClassifier", "Net").replace("Digits", "Numbers"),
    )
]  # fmt: skip
LIGHT = TEXTS[1]
KEYS = [
    *("version", "matrix", "models", "gpus", "trainer", "search", "lr_range", "bounds"),
    *("model", "gpu", "resolution", "include", "exclude", "precision", "net", "cpu", "h200"),
    *("module", "data", "loss", "optimizer", "class_path"),
    *("init_args", "batch_size_attr", "learning_rate_attr"),
    *("accelerator", "name", "memory", "budget", "mode"),
    *("max_batch_size", "min_batch_size", "validation"),
    *("target_memory_fraction", "round_to", "safety_factor"),
    *("lr_min", "lr_max", "seeds", "num_training", "horizon", "when"),
    *("batch_size", "max_drop", "learning_rate", "max_factor"),
    *("callbacks", "plugins", "gradient_clip_val"),
]  # fmt: skip


@pytest.fixture(params=["libyaml", "python"])
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """Return the path of a matrix in the working directory, for each of PyYAML's parsers."""
    if request.param == "python":
        monkeypatch.setattr(yaml12, "_LOADER", yaml.SafeLoader)
    elif not hasattr(yaml, "CSafeLoader"):
        pytest.skip("this PyYAML was built without libyaml")
    monkeypatch.chdir(tmp_path)
    # A short module, because the check of a class path reads its source.
    (tmp_path / "zoo.py").write_text(
        "class Net:\n    pass\n\n\nclass Numbers:\n    pass\n", encoding="utf-8"
    )
    return tmp_path / "matrix.yaml"


def assert_answered(path: Path, data: bytes) -> None:
    """Check that reading a matrix gives usable cases, or an error that names its lines.

    Cases are usable if they can become tests, JSON and a lockfile.
    """
    path.write_bytes(data)
    with in_time():
        try:
            cases = load_matrix(path, search_path=[str(path.parent)])
        except MatrixError as error:
            assert_places(str(error), "matrix.yaml", data)
            return
        assert cases
        assert len(cases) == len({case.id for case in cases})
        for case in cases:
            assert re.fullmatch(LABEL, case.id)
            json.dumps([case.workload, case.trainer])
            profile = locked(settings=recipe(case, {}).settings)
            text = render(Lock(path, (profile,)))
            assert render(parse_lock(LockText(path, text))) == text


@examples(100)
@given(data=mutated(TEXTS))
@example(data=LIGHT.replace("[32, 64]", f"[{HEX}]").encode())
@example(data=LIGHT.replace("version: 1", f"version: {HEX}").encode())
@example(data=f"{LIGHT}lr_range: {{lr_max: {HEX}}}\n".encode())
@example(data=f"{LIGHT}search: {{min_batch_size: {HEX}}}\n".encode())
@example(data=LIGHT.replace("32, 64", r'"\UFFFFFFFF"').encode())
@example(data=LIGHT.replace("32, 64", r'"\U00110000"').encode())
@example(data=LIGHT.replace("zoo.Net}", r'zoo.Net, init_args: {a: "\ud800"}}').encode())
@example(data=f"%YAML {HUGE}.2\n---\n{LIGHT}".encode())
@example(data=f"%YAML 1.{HUGE}\n---\n{LIGHT}".encode())
@example(data=("a: &a [" + "1, " * 10_000 + "]\n*a : 3\n").encode())
def test_a_matrix_made_wrong(path: Path, data: bytes) -> None:
    """A right matrix with mutated lines, values, keys and bytes gives cases or an error."""
    assert_answered(path, data)


def trees(
    scalars: st.SearchStrategy[bytes], keys: st.SearchStrategy[bytes]
) -> st.SearchStrategy[bytes]:
    """Draw nested mappings and lists of scalars."""

    def extend(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        entries = st.lists(
            st.builds(lambda key, value: key + b": " + value, keys, values), max_size=4
        )
        return entries.map(lambda items: b"{" + b", ".join(items) + b"}") | st.lists(
            values, max_size=4
        ).map(lambda items: b"[" + b", ".join(items) + b"]")

    return st.recursive(scalars, extend, max_leaves=12)


@st.composite
def of_other_types(draw: st.DrawFn) -> bytes:
    """Draw a matrix with known keys at any place, and with values of any type."""
    scalars = nasty() | st.sampled_from(
        [b"net", b"cpu", b"h200", b"32", b"zoo.Net", b"512MiB", b"NVIDIA H200"]
    )
    keys = st.sampled_from(KEYS).map(str.encode)

    values = trees(scalars, keys)
    right = {
        b"version": b"1",
        b"matrix": b"{model: [net], gpu: [cpu], resolution: [32]}",
        b"models": b"{net: {module: {class_path: zoo.Net}}}",
        b"gpus": b"{cpu: {accelerator: cpu, budget: 512MiB}}",
    }
    wrong = draw(st.dictionaries(keys, values, min_size=1, max_size=4))
    return b"\n".join(key + b": " + value for key, value in (right | wrong).items())


@examples(60)
@given(data=of_other_types())
def test_a_matrix_of_other_types(path: Path, data: bytes) -> None:
    """A matrix with known keys at any place and values of any type gives cases or an error."""
    assert_answered(path, data)


@examples(60)
@given(
    value=trees(
        words() | texts() | numbers(),
        st.sampled_from([b"a", b"b", b'"a.b"', b"class_path", b"init_args"]),
    )
)
def test_arguments_of_any_kind(path: Path, value: bytes) -> None:
    """Any value that JSON can hold may be an argument of the user's classes."""
    assert_answered(
        path, LIGHT.encode().replace(b"zoo.Net}", b"zoo.Net, init_args: {value: " + value + b"}}")
    )


@examples(50)
@given(data=raw())
def test_no_matrix_at_all(path: Path, data: bytes) -> None:
    """A file of any bytes gives cases or an error."""
    assert_answered(path, data)
