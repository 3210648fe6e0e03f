"""Whole runs under a preset: how many probes they take, and what production checks."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from command_line import of_case
from zoo import Net, Numbers

from harness.identity.fingerprint import describe_data, describe_module, fingerprint
from harness.identity.recipe import recipe
from harness.lockfile.write import update_lock
from harness.matrix.cases import load_matrix

if TYPE_CHECKING:
    from projects import Project

pytestmark = pytest.mark.usefixtures("runs_share_a_zygote")

CASE = "net-cpu-48MiB-1"
# Bounded by memory: the search has a bracket. A sample takes 0.75 MiB, far more than peaks vary.
WIDE = """\
version: 1
matrix: {model: [net], gpu: [cpu-48MiB], resolution: [1]}
models:
  net:
    module: {class_path: zoo.Net, init_args: {width: 65536}}
    data: {class_path: zoo.Numbers, init_args: {num_samples: 4096}}
gpus:
  cpu-48MiB: {accelerator: cpu, budget: 48MiB}
search: {safety_factor: 0.9}
lr_range: {when: never}
"""


def probed(project: Project) -> list[int]:
    """Return the batch sizes that the last run probed."""
    return [probe["batch_size"] for probe in project.report()[CASE]["probes"]]


def preset_of(project: Project) -> Any:
    """Return the key `preset` of the last report.json."""
    return json.loads((project.results / "report.json").read_text(encoding="utf-8"))["preset"]


def test_presets_of_one_lock_from_first_measurement_to_release(project: Project) -> None:
    """A thorough run locks; quick then takes two probes, and production none."""
    (project.path / "profiles" / "matrix.yaml").write_text(WIDE, encoding="utf-8")
    run = ("--gpu-profile", "--gpu-profile-preset")
    project.run(*run, "thorough", "--gpu-profile-update").assert_outcomes(passed=1, deselected=1)
    found = project.report()[CASE]
    largest, tuned = found["max_batch_size"], found["batch_size"]
    sizes = probed(project)
    assert ([largest, largest + 1], "thorough") == (sizes[-2:], preset_of(project))
    assert {largest, largest + 1} <= {*sizes[:-2]}

    quick = project.run(*run, "quick")
    quick.assert_outcomes(passed=1, deselected=1)
    quick.stdout.fnmatch_lines(["gpu-profile: preset quick: 1 case, about 2 probes, *"])
    assert ([largest, largest + 1], "quick") == (probed(project), preset_of(project))

    production = project.run(*run, "production")
    production.assert_outcomes(passed=1, deselected=1)
    assert pytest.ExitCode.OK == production.ret
    production.stdout.fnmatch_lines(
        [
            "gpu-profile: preset production: 1 case to check against the lock; nothing is measured",
            "case *locked batch *locked LR *locked on *status",
            f"{CASE} *{tuned} * - *cpu, 48.0 MiB *passed",
        ]
    )
    assert ([], "production") == (probed(project), preset_of(project))


def locked_values(project: Project) -> None:
    """Lock five of six cases of one workload, four of them with something wrong."""
    matrix = project.path / "profiles" / "matrix.yaml"
    text = matrix.read_text(encoding="utf-8")
    text = text.replace("resolution: [1]", "resolution: [1, 2, 3, 4, 5, 6]")
    text = text.replace("when: never", "when: always") + "preset: production\n"
    matrix.write_text(text, encoding="utf-8")
    case = load_matrix(matrix, search_path=(str(matrix.parent),))[0]
    made, workload = recipe(case, {}), describe_module(Net()) | describe_data(Numbers())
    fresh = of_case(
        recipe=made.digest,
        settings=made.settings,
        workload=workload,
        fingerprint=fingerprint(workload),
    )

    def at(resolution: int, **changes: Any) -> Any:
        return replace(fresh, axes=fresh.axes | {"resolution": resolution}, **changes)

    update_lock(
        project.lock,
        [
            fresh,
            at(2, recipe="sha256:r1", settings=made.settings | {"gpu.budget": 1 << 20}),
            at(3, fingerprint="sha256:f1"),
            at(4, source="predicted", predicted_batch_size=3712),
            at(
                5,
                learning_rate=None,
                learning_rate_range=(),
                learning_rates=(),
                lr_refusal="the loss has not fallen",
            ),
        ],
    )


def test_production_fails_what_is_not_locked_measured_and_fresh(project: Project) -> None:
    """Without a device or a probe each case is judged, with what to do."""
    locked_values(project)
    before = project.lock.read_bytes()
    result = project.run("--gpu-profile")
    result.assert_outcomes(passed=1, failed=5, deselected=1)
    assert {
        CASE: [],
        "net-cpu-48MiB-2": ["recipe"],
        "net-cpu-48MiB-3": ["fingerprint"],
        "net-cpu-48MiB-4": ["missing"],
        "net-cpu-48MiB-5": ["missing"],
        "net-cpu-48MiB-6": ["missing"],
    } == {
        name: [violation["bound"] for violation in case["violations"]]
        for name, case in project.report().items()
    }
    result.stdout.fnmatch_lines(
        [
            "net-cpu-48MiB-2: locked with another recipe: gpu.budget 1048576 -> 50331648",
            "net-cpu-48MiB-4: predicted, never measured",
            "net-cpu-48MiB-5: no learning rate is locked: the loss has not fallen; where",
            "net-cpu-48MiB-6: never locked",
            "measure the case on its device, and lock it with:",
            '  pytest --gpu-profile --gpu-profile-preset none --gpu-profile-update "test_pro*"',
        ]
    )
    assert before == project.lock.read_bytes()
    page = (project.results / "report.md").read_text(encoding="utf-8")
    assert "- preset: production" in page
    assert "`net-cpu-48MiB-6`: never locked" in page


def test_own_test_of_a_measurement_fails_under_production_and_says_why(project: Project) -> None:
    """Nothing is measured, and the test of the locked profile passes."""
    locked_values(project)
    (project.path / "test_profiles.py").write_text(
        "def test_speed(gpu_profile):\n    assert gpu_profile.measurement\n\n"
        "def test_locked(gpu_profile):\n    assert gpu_profile.locked.batch_size\n",
        encoding="utf-8",
    )
    result = project.run("--gpu-profile", "-k", CASE)
    result.assert_outcomes(passed=1, failed=1, deselected=10)
    result.stdout.fnmatch_lines(
        [
            f"test_speed[[]{CASE}[]]: {CASE} is not measured: *Read gpu_profile.locked here, *",
        ]
    )


def test_run_of_no_case_is_no_success_of_production(project: Project) -> None:
    """A selection that leaves nothing checks nothing."""
    result = project.run("--gpu-profile", "--gpu-profile-preset=production", "-k", "no_such_case")
    assert pytest.ExitCode.TESTS_FAILED == result.ret
    result.stdout.fnmatch_lines(["nothing was checked: no test ran for 1 case*"])


@pytest.mark.parametrize("flag", ["--gpu-profile-update", "--gpu-profile-predict"])
def test_production_refuses_flags_that_need_values(project: Project, flag: str) -> None:
    """It measures and predicts nothing; the message names the way out."""
    result = project.run("--gpu-profile", "--gpu-profile-preset", "production", flag)
    assert pytest.ExitCode.USAGE_ERROR == result.ret
    result.stderr.fnmatch_lines(
        [f"*{flag} is not allowed with the preset production, *--gpu-profile-preset none leaves*"]
    )


def test_unknown_preset_of_flag_and_ini_key_is_refused(project: Project) -> None:
    """The flag wins over the ini key, and each is told with the allowed ones."""
    (project.path / "pytest.ini").write_text(
        "[pytest]\ngpu_profile_preset = quik\n", encoding="utf-8"
    )
    allowed = "allowed: quick, thorough, production, none"
    for flags, word in ((), "quik"), (("--gpu-profile-preset=fast",), "fast"):
        result = project.run("--gpu-profile", "--collect-only", *flags)
        assert pytest.ExitCode.USAGE_ERROR == result.ret
        result.stderr.fnmatch_lines([f"*ini: gpu_profile_preset*'{word}' is no preset; {allowed}*"])
    assert project.run("--gpu-profile", "--co", "--gpu-profile-preset=quick").ret == 0
