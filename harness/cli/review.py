"""The verb `review`: shows what a run has found beside what is locked, and takes or leaves it.

A profile is taken as a whole: its learning rate was measured at its batch size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from typing_extensions import TypedDict

from harness.cli.answers.answer import Answer
from harness.cli.common import say
from harness.cli.lock_documents import DifferenceData, difference_data
from harness.cli.lockfile import difference_lines
from harness.errors import HarnessError
from harness.lockfile.diff import diff
from harness.lockfile.profiles import read_lock
from harness.lockfile.write import refuse_read_only, update_lock
from harness.visible import cut
from harness.wording import shown_path, typed_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from harness.lockfile.diff import Difference
    from harness.lockfile.profiles import LockedProfile
    from harness.run.paths import Paths

_QUESTION = "take it? [y]es, [n]o, [a]ll from here, [q]uit: "
_CHOICES: dict[str, Literal["take", "leave", "take all", "leave all"]] = {
    "y": "take",
    "yes": "take",
    "n": "leave",
    "no": "leave",
    "a": "take all",
    "all": "take all",
    "q": "leave all",
    "quit": "leave all",
}


class ReviewDocument(TypedDict):
    """The answer of `review`, which under `--json` asks nothing and takes nothing."""

    candidate: str
    lock: str
    differences: list[DifferenceData]
    """What the lockfile would take from the candidate."""


def review(options: argparse.Namespace, paths: Paths) -> Answer:
    """Ask of each profile of a candidate that differs from the locked one; lock those taken.

    The exit code is 0 when the lockfile then holds all of the candidate's profiles, and 1 when some
    were left. The answers are lines of standard input; where it ends, the rest is left. After
    Ctrl-C nothing is taken. Under `--json` all are left.
    """
    candidate = read_lock(options.candidate or paths.results / "candidate.lock")
    if not candidate.exists:
        raise HarnessError(
            f"{shown_path(candidate.path)} does not exist; each run of `pytest --gpu-profile` "
            "leaves one, in the folder of its results"
        )
    if not options.json:
        refuse_read_only(paths.lock)
    offered = [one for one in diff(read_lock(paths.lock), candidate) if one.kind != "removed"]
    document: ReviewDocument = {
        "candidate": typed_path(candidate.path),
        "lock": typed_path(paths.lock),
        "differences": [difference_data(one) for one in offered],
    }
    if not offered:
        say(f"nothing to review: {shown_path(paths.lock)} holds all of what was found")
        return Answer(0, document)
    taken = [] if options.json else _ask(offered)
    if taken:
        update_lock(paths.lock, taken)
    left = len(offered) - len(taken)
    say(f"{len(taken)} of {len(offered)} taken into {shown_path(paths.lock)}, {left} left")
    return Answer(int(left > 0), document)


def _ask(offered: Sequence[Difference]) -> list[LockedProfile]:
    """Show each difference and return the profiles that are taken."""
    taken: list[LockedProfile] = []
    every = False
    for number, difference in enumerate(offered, start=1):
        title, *changes = difference_lines(difference)
        say("\n".join([f"({number} of {len(offered)}) {title}", *changes]))
        choice = "take" if every else _choice()
        if choice == "leave all":
            break
        every = every or choice == "take all"
        if choice != "leave":
            taken.append(difference.profile)
    return taken


def _choice() -> Literal["take", "leave", "take all", "leave all"]:
    while True:
        try:
            answer = input(_QUESTION).strip().lower()
        except EOFError:
            say("")
            return "leave all"
        if answer in _CHOICES:
            return _CHOICES[answer]
        say(f"{cut(answer)!r} is no answer: y, n, a or q" if answer else "y, n, a or q")
