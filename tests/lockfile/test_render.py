"""Rendering the lockfile: its exact bytes, and no loss of values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measurements import A100, locked

from harness.case_names import LABEL
from harness.lockfile.profiles import Lock, LockedProfile, read_lock
from harness.lockfile.render import render
from harness.lockfile.write import update_lock

EVERYTHING = """\
version = 1

[[profile]]
model = "resnet18"
gpu = "h200"
resolution = 224
emulated = true
batch_size = 3328
max_batch_size = 3712
predicted_batch_size = 3600
validation_batch_size = 8192
bounded_by = "memory"
learning_rate = 0.00316
learning_rates = [0.0031, 0.00316, 0.0034]
learning_rate_range = [0.002107, 0.00474]
lr_horizon = 40
lr_refusal = "both cannot be, but both have a place"
peak_memory_bytes = 125876543488
memory_limit_bytes = 135711850905
samples_per_second = 10340.0
fingerprint = "sha256:f1"
recipe = "sha256:r1"

[profile.axes]
precision = "16-mixed"

[profile.device]
name = "NVIDIA H200"
memory_bytes = 150754820096

[profile.workload]
module = "zoo.Net"
num_parameters = 11181642
parameters = "sha256:p1"

[profile.settings]
"trainer.callbacks" = [
    "a",
    "b",
]
"trainer.precision" = "bf16-mixed"

[profile.made_with]
torch = "2.11.0"
cuda = "13.0"
driver = "580.159.03"
lightning = "2.6.6"

[profile.predicted_with]
torch = "2.13.0"
lightning = "2.6.6"

[profile.predicted_peak]
"activation of layer1" = 4096
parameter = 4096
"workspace of cuBLAS" = 512
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a lockfile in a folder of its own."""
    return tmp_path / "gpu-profile.lock"


def everything() -> LockedProfile:
    """Return a profile that has a value for every field."""
    profile = locked(
        emulated=True,
        lr_refusal="both cannot be, but both have a place",
        # In another order than the file's: equal profiles must give equal bytes.
        settings={"trainer.precision": "bf16-mixed", "trainer.callbacks": ["a", "b"]},
        made_with={"lightning": "2.6.6", "driver": "580.159.03", "torch": "2.11.0", "cuda": "13.0"},
        predicted_batch_size=3600,
        predicted_with={"lightning": "2.6.6", "torch": "2.13.0"},
        predicted_peak={
            "workspace of cuBLAS": 512,
            "parameter": 4096,
            "activation of layer1": 4096,
        },
    )
    return replace(profile, axes={**profile.axes, "precision": "16-mixed"})


def test_writes_the_documented_form(path: Path) -> None:
    """The text equals the documented TOML byte for byte."""
    update_lock(path, [everything()])
    assert path.read_text(encoding="utf-8") == EVERYTHING


def test_reads_back_what_it_wrote(path: Path) -> None:
    """A profile that is written and read back is unchanged."""
    update_lock(path, [everything()])
    assert list(read_lock(path)) == [everything()]


def test_what_there_is_not_is_not_written() -> None:
    """None, an empty list and an empty table are not written."""
    profile = locked(
        learning_rate=None,
        learning_rates=(),
        lr_horizon=None,
        validation_batch_size=None,
        peak_memory_bytes=None,
        samples_per_second=None,
        workload={},
        settings={},
        made_with={},
    )
    names = [line.split(" ")[0] for line in render(Lock(Path("x"), (profile,))).split("\n") if line]
    assert names == [
        "version",
        "[[profile]]",
        "model",
        "gpu",
        "resolution",
        "batch_size",
        "max_batch_size",
        "bounded_by",
        "memory_limit_bytes",
        "fingerprint",
        "recipe",
        "[profile.device]",
        "name",
        "memory_bytes",
    ]


def test_an_empty_lock_is_its_version() -> None:
    """A lock without profiles is one line, its version."""
    assert render(Lock(Path("x"))) == "version = 1\n"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.00316227766, "0.003162"),
        (1e-6, "1e-06"),
        (10340.123, "10340.0"),
        (123456.0, "123500.0"),
        (1, "1.0"),
    ],
)
def test_measured_floats_have_four_significant_digits(value: float, written: str) -> None:
    """Measured floats keep four digits, so that noise in the fifth makes no diff."""
    text = render(Lock(Path("x"), (locked(learning_rate=value, learning_rates=(value, value)),)))
    assert f"learning_rate = {written}\nlearning_rates = [{written}, {written}]\n" in text


def test_floats_that_a_user_wrote_keep_their_digits() -> None:
    """Floats in axes and settings are not rounded, because they identify a case."""
    profile = replace(
        locked(settings={"search.safety_factor": 0.123456}),
        axes={**locked().axes, "scale": 0.123456},
    )
    text = render(Lock(Path("x"), (profile,)))
    assert "scale = 0.123456\n" in text
    assert '"search.safety_factor" = 0.123456\n' in text


def test_update_with_nothing_changes_no_byte(path: Path) -> None:
    """An update without profiles leaves a written lock unchanged."""
    update_lock(path, [everything(), locked(model="vit"), locked(gpu="a100", device=A100)])
    before = path.read_bytes()
    update_lock(path, [])
    assert path.read_bytes() == before


def test_unknown_keys_survive_an_update_of_other_cases(path: Path) -> None:
    """Unknown keys, which a newer version wrote, survive an update of other cases."""
    text = "note = 1\n" + EVERYTHING.replace('"sha256:r1"', '"sha256:r1"\npredicted = 5')
    text = text.replace("[profile.device]", '[profile.device]\nclass = "9.0"')
    path.write_text(text, encoding="utf-8")
    before = read_lock(path)
    update_lock(path, [locked(model="vit")])
    after = read_lock(path)
    assert (after.extra, after.profiles[0]) == ({"note": 1}, before.profiles[0])
    assert (after.profiles[0].extra) == {"device": {"class": "9.0"}, "predicted": 5}


def test_a_peak_or_limit_of_zero_survives(path: Path) -> None:
    """A peak or a limit of zero is written and read back as zero."""
    update_lock(path, [locked(peak_memory_bytes=0, memory_limit_bytes=0)])
    assert list(read_lock(path)) == [locked(peak_memory_bytes=0, memory_limit_bytes=0)]


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def test_what_cannot_be_seen_is_escaped(path: Path) -> None:
    """A reviewer sees every character of the file: none turns the reading direction, say."""
    hidden = "a\u202eb\u200bc\x85d\u2028e\U000e0041f"
    update_lock(path, [locked(lr_refusal=hidden)])
    text = path.read_text(encoding="utf-8")
    assert r'lr_refusal = "a\u202Eb\u200Bc\u0085d\u2028e\U000E0041f"' in text.splitlines()
    assert hidden == read_lock(path).profiles[0].lr_refusal


# Two of them and the GPU make an id of at most 200 characters; a longer one is refused.
labels = st.from_regex(LABEL, fullmatch=True).filter(lambda label: len(label) < 90)

scalars = (
    texts
    | st.integers(-(2**62), 2**62)
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "model": labels,
            "resolution": labels | st.integers(0, 2**62) | st.booleans() | st.floats(0, 1e308),
            "workload": st.dictionaries(texts, scalars, max_size=3),
            "settings": st.dictionaries(texts, scalars | st.lists(scalars, max_size=4), max_size=3),
            "made_with": st.dictionaries(texts, texts, max_size=3),
            "lr_refusal": texts,
            "predicted_with": st.dictionaries(texts, texts, max_size=3),
            "predicted_peak": st.dictionaries(texts, st.integers(0, 2**62), max_size=3),
        }
    )
)
def test_any_profile_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    """Profiles with any names and values are read back equal and rendered as the same bytes."""
    path = tmp_path_factory.mktemp("lock") / "gpu-profile.lock"
    profile = locked(**changes)
    update_lock(path, [profile])
    lock = read_lock(path)
    assert list(lock) == [profile]
    assert render(lock) == path.read_text(encoding="utf-8")
