"""Measures a matrix on a Slurm cluster: a job for each kind of GPU; the candidates are merged.

Run it in the root of your project, on a machine that can submit jobs:

    python slurm.py --kind h100 partition=hopper gres=gpu:h100:1 --kind a100 gres=gpu:a100:1

A kind is a label below `gpus` in the matrix, with the options of its job; those without a value, as
`exclusive`, are on. `--update` writes what was measured into the lockfile. `--cluster local` runs
the jobs as processes of this machine.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

try:
    import submitit
except ModuleNotFoundError:
    sys.exit("this script needs submitit: pip install submitit")

RUNS = Path(".gpu-profile-slurm")
ATTEMPTS = 2  # a job whose node is lost is submitted once more
PYTEST = [sys.executable, "-m", "pytest", "--gpu-profile"]
NO_TESTS = 5  # pytest's exit code where -k selects nothing


def measure(label: str, others: list[str], lock: str, *, update: bool) -> int:
    """Run the cases of one GPU label, on the node of a job; return pytest's exit code.

    others: labels that hold this one, such as `h100-as-1GiB`: their cases have jobs of their own.
    """
    folder = RUNS / label
    command = [*PYTEST, "--gpu-profile-dir", str(folder)]
    command += ["-k", " and not ".join([label, *others])]
    if update:
        # A lock of its own: what all jobs have measured is merged in the end.
        own = folder.with_suffix(".lock")
        if Path(lock).exists():
            shutil.copy(lock, own)
        command += ["--gpu-profile-update", "--gpu-profile-lock", str(own)]
    return subprocess.call(command)


def read_option(text: str) -> tuple[str, str | bool]:
    """Return name and value of an option of sbatch."""
    name, separator, value = text.partition("=")
    return name.replace("-", "_"), value if separator else True


def main() -> int:
    """Submit the jobs, wait for them, and merge; return the worst exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", nargs="+", action="append", required=True, metavar="LABEL OPTION")
    parser.add_argument("--lock", default="profiles/gpu-profile.lock")
    parser.add_argument("--cluster", default="slurm", choices=["slurm", "local"])
    parser.add_argument("--minutes", type=int, default=240, help="the limit of each job")
    parser.add_argument("--update", action="store_true", help="write the lockfile")
    given = parser.parse_args()
    kinds = {label: dict(map(read_option, rest)) for label, *rest in given.kind}
    for label in kinds:
        listing = [*PYTEST, "--collect-only", "-q", "-k", label]
        if subprocess.call(listing, stdout=subprocess.DEVNULL) == NO_TESTS:
            sys.exit(f"no case has the label {label}: see gpus in the matrix")
    RUNS.mkdir(exist_ok=True)

    codes: dict[str, int] = {}
    waiting = list(kinds)
    for _ in range(ATTEMPTS):
        jobs = {}
        for label in waiting:
            executor = submitit.AutoExecutor(folder=RUNS / "jobs", cluster=given.cluster)
            options = {f"slurm_{name}": value for name, value in kinds[label].items()}
            executor.update_parameters(
                name=f"gpu-profile-{label}", timeout_min=given.minutes, **options
            )
            others = [other for other in kinds if label in other and other != label]
            jobs[label] = executor.submit(measure, label, others, given.lock, update=given.update)
        for label, job in jobs.items():
            try:
                codes[label] = job.result()
                print(
                    f"{label}: job {job.job_id}: exit code {codes[label]}, log {job.paths.stdout}"
                )
            except submitit.core.utils.UncompletedJobError as error:
                print(f"{label}: job {job.job_id} was lost: {str(error).splitlines()[0]}")
        waiting = [label for label in jobs if label not in codes]

    found = [str(RUNS / label / "candidate.lock") for label in codes]
    candidates = [path for path in found if Path(path).exists()]
    if given.update and candidates:
        merge = ["gpu-profile", "merge", "--lock", given.lock, *candidates]
        codes["merge"] = subprocess.call(merge)
    return max([*codes.values(), *(1 for _ in waiting)])


if __name__ == "__main__":
    sys.exit(main())
