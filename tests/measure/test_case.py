"""Measures one case from start to end: the probes that it asks for, and its measurement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_runner import Rehearsal, make_case, surroundings
from projects import MIB

from harness.devices.finding import find_device
from harness.errors import WorkloadError
from harness.lockfile.profiles import LockedProfile
from harness.matrix.settings import SearchSettings
from harness.measure.case import measure_case
from harness.probes import open_cases

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.matrix.case import Case
    from harness.measurement import Measurement


@pytest.fixture
def rehearse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Measurement]:
    """Return a function that measures a case with a rehearsal in place of its zygote."""

    def rehearse(case: Case, runner: Rehearsal, locked: LockedProfile | None = None) -> Measurement:
        monkeypatch.setattr(open_cases, "open_runner", lambda *_: runner)
        return measure_case(case, runner.device, locked, surroundings(tmp_path))

    return rehearse


@pytest.mark.parametrize(
    ("maximum", "safety_factor", "round_to", "expected"),
    [
        (471, 1.0, 1, 471),
        (471, 0.9, 1, 423),
        (30, 0.1, 1, 3),
        (471, 1.0, 8, 464),
        (472, 1.0, 8, 472),
        (8, 1.0, 8, 8),
        (7, 1.0, 8, 7),
        (1, 0.1, 1, 1),
        (1, 1.0, 64, 1),
        (0, 1.0, 1, 0),
        (0, 0.9, 8, 0),
    ],
)
def test_tuned_batch_is_scaled_then_rounded_down(
    maximum: int, safety_factor: float, round_to: int, expected: int
) -> None:
    """It is floor(B x safety_factor), down to a multiple of round_to; 0 only if nothing fits."""
    settings = SearchSettings(safety_factor=safety_factor, round_to=round_to)
    assert expected == settings.tuned(maximum)


@pytest.mark.parametrize(
    ("maximum", "settings", "expected"),
    [
        (512, {}, 512),
        (512, {"safety_factor": 0.9}, 256),
        (512, {"safety_factor": 0.4}, 128),
        (512, {"safety_factor": 0.9, "min_batch_size": 300}, 512),
        (1, {"safety_factor": 0.5}, 1),
        (0, {}, 0),
    ],
)
def test_tuned_batch_divides_the_global_batch(
    maximum: int, settings: dict[str, Any], expected: int
) -> None:
    """It is the largest divisor up to B x safety_factor, and not below min_batch_size."""
    assert expected == SearchSettings(global_batch_size=1024, **settings).tuned(maximum)


@pytest.mark.parametrize(
    ("search", "num_samples", "expected"),
    [
        ("global_batch_size: 960", 4096, (48, "memory", 48, 20)),
        ("global_batch_size: 960, safety_factor: 0.9", 4096, (48, "memory", 40, 24)),
        ("global_batch_size: 960, round_to: 32", 4096, (32, "memory", 32, 30)),
        ("global_batch_size: 960, round_to: 64", 4096, (48, "memory", 48, 20)),
        ("global_batch_size: 48", 4096, (48, "cap", 48, 1)),
        ("global_batch_size: 960, max_batch_size: 35", 4096, (32, "cap", 32, 30)),
        ("global_batch_size: 960", 35, (32, "dataset", 32, 30)),
        ("global_batch_size: 53", 4096, (53, "cap", 53, 1)),
        ("global_batch_size: 59", 4096, (1, "memory", 1, 59)),
        ("global_batch_size: 118, min_batch_size: 3", 4096, (0, "nothing fits", 0, None)),
    ],
)
def test_batch_divides_the_global_batch(
    tmp_path: Path,
    rehearse: Callable[..., Measurement],
    search: str,
    num_samples: int | None,
    expected: tuple[int, str, int, int | None],
) -> None:
    """Of 54 samples that fit, the largest divisor is found, with the accumulation it needs."""
    runner = Rehearsal()
    runner.description = replace(runner.description, num_samples=num_samples)
    found = rehearse(make_case(tmp_path, search=search, lr="when: never"), runner)
    assert expected == (
        found.max_batch_size,
        found.bounded_by,
        found.batch_size,
        found.accumulate_grad_batches,
    )
    total = found.global_batch_size
    assert total is not None
    assert [] == [one for one in runner.trained if total % one["batch_size"]]


def test_largest_batch_is_bounded_by_memory(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """The largest batch within the budget is found; the tuned batch is swept and validated."""
    runner = Rehearsal()
    found = rehearse(make_case(tmp_path, search="safety_factor: 0.9"), runner)
    assert (54, "memory", 48, 64 * MIB) == (
        found.max_batch_size,
        found.bounded_by,
        found.batch_size,
        found.memory_limit_bytes,
    )
    assert (64 * MIB, 48) == (found.peak_memory_bytes, found.validation_batch_size)
    assert {48} == {batch_size for batch_size, _, _ in runner.swept}
    assert ("net-cpu-1", "sha256:f1", "cpu") == (
        found.case_id,
        found.fingerprint,
        found.device.name,
    )


@pytest.mark.parametrize(
    ("search", "num_samples", "expected"),
    [
        ("round_to: 8", 4096, (48, "memory")),
        ("round_to: 8", 30, (24, "dataset")),
        ("round_to: 64", 4096, (54, "memory")),
        ("round_to: 64", 30, (30, "dataset")),
        ("max_batch_size: 20", 4096, (20, "cap")),
        ("max_batch_size: 40", 20, (20, "dataset")),
        ("max_batch_size: 20", 20, (20, "cap")),
        ("", None, (54, "memory")),
    ],
)
def test_search_never_goes_beyond_cap_or_data(
    tmp_path: Path,
    rehearse: Callable[..., Measurement],
    search: str,
    num_samples: int | None,
    expected: tuple[int, str],
) -> None:
    """The smaller of cap and number of samples bounds the search; data without a length do not."""
    runner = Rehearsal()
    runner.description = replace(runner.description, num_samples=num_samples)
    found = rehearse(make_case(tmp_path, search=search, lr="when: never"), runner)
    assert expected == (found.max_batch_size, found.bounded_by)
    limit = 2 * expected[0] if expected[1] == "memory" else expected[0]
    assert max(asked["batch_size"] for asked in runner.trained) <= limit


def test_nothing_that_fits_ends_the_case(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """If not even one sample fits, there is no batch, no validation and no sweep."""
    runner = Rehearsal(base=64 * MIB)
    found = rehearse(make_case(tmp_path, search="validation: search"), runner)
    assert (0, "nothing fits", 0, None, None) == (
        found.max_batch_size,
        found.bounded_by,
        found.batch_size,
        found.validation_batch_size,
        found.learning_rate,
    )
    assert [] == runner.swept


def test_unchanged_case_costs_two_probes(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """One probe shows that the locked size fits, and one that the next fails; validation too."""
    case = make_case(tmp_path, search="validation: search", lr="when: never")
    first = rehearse(case, Rehearsal())
    runner = Rehearsal()
    second = rehearse(case, runner, LockedProfile.from_measurement(first))
    assert [("train", 54), ("train", 55), ("validation", 216), ("validation", 217)] == [
        (probe.kind, probe.batch_size) for probe in second.probes
    ]
    assert (54, 216) == (second.max_batch_size, second.validation_batch_size)


@pytest.mark.parametrize(
    ("validation", "has_validation", "steps", "size"),
    [
        ("true", True, 3, 54),
        ("true", False, 0, None),
        ("false", True, 0, None),
        ("search", True, 0, 216),
    ],
)
def test_validation_is_run_as_asked(
    tmp_path: Path,
    rehearse: Callable[..., Measurement],
    validation: str,
    *,
    has_validation: bool,
    steps: int,
    size: int | None,
) -> None:
    """A training probe validates three batches, with `true` and if the workload validates."""
    runner = Rehearsal()
    runner.description = replace(runner.description, validation=has_validation)
    found = rehearse(
        make_case(tmp_path, search=f"validation: {validation}", lr="when: never"), runner
    )
    asked = [
        call["validation_steps"] for call in runner.trained if "validation_batch_size" not in call
    ]
    assert ({steps}, size) == (set(asked), found.validation_batch_size)


def test_validation_has_settings_of_its_own(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """Its probes use its own memory share and steps, and train the tuned batch."""
    runner = Rehearsal()
    search = (
        "validation: search, target_memory_fraction: 0.8, validation_target_memory_fraction: 0.4, "
        "validation_steps_per_trial: 2, steps_per_trial: 4, round_to: 8"
    )
    found = rehearse(make_case(tmp_path, search=search, lr="when: never"), runner)
    calls = [call for call in runner.trained if "validation_batch_size" in call]
    assert {(48, 4, 2, 0.5)} == {
        (call["batch_size"], call["steps"], call["validation_steps"], call["validation_share"])
        for call in calls
    }
    # Half of 64 MiB, less 10 MiB, at a quarter of a MiB per sample.
    assert 88 == found.validation_batch_size


@pytest.mark.parametrize(
    ("search", "num_samples", "expected"),
    [
        ("max_batch_size: 20", 4096, 40),
        ("validation_max_batch_size: 30", 4096, 30),
        ("", 100, 100),
    ],
    ids=["twice training's cap", "its own cap", "its data"],
)
def test_validation_has_a_cap_of_its_own(
    tmp_path: Path,
    rehearse: Callable[..., Measurement],
    search: str,
    num_samples: int,
    expected: int,
) -> None:
    """The cap is twice training's, validation's own, or the size of the validation set."""
    runner = Rehearsal()
    runner.description = replace(runner.description, num_validation_samples=num_samples)
    search = ", ".join(filter(None, [search, "validation: search"]))
    assert (
        expected
        == rehearse(
            make_case(tmp_path, search=search, lr="when: never"), runner
        ).validation_batch_size
    )


def test_validation_that_never_fits_is_told(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """If no validation batch fits, there is none, and a warning gives the reason."""
    runner = Rehearsal(validation_per_sample=100 * MIB)
    found = rehearse(make_case(tmp_path, search="validation: search", lr="when: never"), runner)
    assert (None, ("no validation batch size was found (nothing fits): batch 1: MemoryError",)) == (
        found.validation_batch_size,
        found.warnings,
    )


@pytest.mark.probes
def test_greedy_validation_is_searched_in_real_probes(tmp_path: Path) -> None:
    """On the CPU, validation that holds more per sample than training has the smaller batch."""
    case = make_case(
        tmp_path,
        search="validation: search, steps_per_trial: 2",
        lr="when: never",
        budget="24MiB",
        module="GreedyEvaluation",
    )
    device = find_device(case.device, 0.9)
    (tmp_path / "work").mkdir()
    found = measure_case(case, device, None, surroundings(tmp_path))
    assert "memory" == found.bounded_by
    assert found.validation_batch_size is not None
    assert 1 <= found.validation_batch_size < found.batch_size
    outcomes = {p.batch_size: (p.outcome, p.phase) for p in found.probes if p.kind == "validation"}
    assert ("fits", None) == outcomes[found.validation_batch_size]
    assert ("oom", "validation") == outcomes[found.validation_batch_size + 1]
    assert all(Path(probe.log or "").is_file() for probe in found.probes)


def test_batch_that_thrashes_counts_and_is_told(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """A batch that thrashes can be the maximum, with a warning."""
    measured = rehearse(make_case(tmp_path), Rehearsal(retries_from=50))
    assert 54 == measured.max_batch_size
    assert (
        "batch 54 trains, but it thrashes: torch's allocator emptied its cache 7 times"
        in measured.warnings[0]
    )


def test_thrashing_batches_do_not_count_where_the_matrix_says_so(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """With `allow_thrashing: false` the maximum is the largest batch without retries."""
    measured = rehearse(
        make_case(tmp_path, search="allow_thrashing: false"), Rehearsal(retries_from=50)
    )
    assert (49, "memory", ()) == (measured.max_batch_size, measured.bounded_by, measured.warnings)
    edge = next(probe for probe in measured.probes if probe.batch_size == 50)
    assert ("oom", "trains only because the allocator empties its cache (7 retries)") == (
        edge.outcome,
        edge.detail,
    )


def test_tuned_batch_is_soaked(tmp_path: Path, rehearse: Callable[..., Measurement]) -> None:
    """One probe trains the tuned batch, not the largest one, for `soak_steps`."""
    runner = Rehearsal()
    rehearse(make_case(tmp_path, search="soak_steps: 500, safety_factor: 0.5"), runner)
    assert [(27, 500)] == [
        (asked["batch_size"], asked["steps"]) for asked in runner.trained if asked["steps"] > 3
    ]


def test_batch_that_does_not_last_is_no_measurement(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """A tuned batch that fails in the soak is an error, which gives the number of steps."""
    with pytest.raises(
        WorkloadError,
        match=r"batch 54 trains for 3 steps, but not for the 500 .* after 200 of them",
    ):
        rehearse(make_case(tmp_path, search="soak_steps: 500"), Rehearsal(lasts=200))


def test_probes_that_start_anew_are_told_of(
    tmp_path: Path, rehearse: Callable[..., Measurement]
) -> None:
    """A warning gives the reason why probes start Python anew."""
    measured = rehearse(make_case(tmp_path), Rehearsal(afresh="starts CUDA"))
    assert measured.warnings[0].startswith(
        "building the workload starts CUDA, so its probes cannot be forked"
    )


@pytest.mark.parametrize(
    ("flaw", "warning"),
    [
        (
            {"growing": True},
            "the memory of batch 54 still grew from step to step when its probe ended",
        ),
        (
            {"finite_loss": False},
            "the training loss at batch 54 is not a number after the first steps",
        ),
        ({"notes": ("work.py:7: a value decides here",)}, "work.py:7: a value decides here"),
    ],
)
def test_doubtful_maximum_is_told(
    tmp_path: Path, rehearse: Callable[..., Measurement], flaw: dict[str, Any], warning: str
) -> None:
    """Memory that grows, a loss that is not a number, or a line that decides by zeros is told."""
    assert rehearse(make_case(tmp_path), Rehearsal(flaw=flaw)).warnings[0].startswith(warning)
