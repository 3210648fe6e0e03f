"""The verb `review`: shows what a run has found beside what is locked, and takes or leaves it.

A profile is taken as a whole: its learning rate was measured at its batch size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from harness.cli.common import say
from harness.cli.lockfile import difference_lines
from harness.errors import HarnessError
from harness.lockfile.diff import diff
from harness.lockfile.profiles import read_lock
from harness.lockfile.write import refuse_read_only, update_lock
from harness.visible import cut
from harness.wording import shown_path

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


def review(options: argparse.Namespace, paths: Paths) -> int:
    """Ask of each profile of a candidate that differs from the locked one; lock those taken.

    Return 0 when the lockfile then holds all of the candidate's profiles, and 1 when some were
    left. The answers are lines of standard input; where it ends, the rest is left. After Ctrl-C
    nothing is taken.
    """
    candidate = read_lock(options.candidate or paths.results / "candidate.lock")
    if not candidate.exists:
        raise HarnessError(
            f"{shown_path(candidate.path)} does not exist; each run of `pytest --gpu-profile` "
            "leaves one, in the folder of its results"
        )
    refuse_read_only(paths.lock)
    offered = [one for one in diff(read_lock(paths.lock), candidate) if one.kind != "removed"]
    if not offered:
        say(f"nothing to review: {shown_path(paths.lock)} holds all of what was found")
        return 0
    taken = _ask(offered)
    if taken:
        update_lock(paths.lock, taken)
    left = len(offered) - len(taken)
    say(f"{len(taken)} of {len(offered)} taken into {shown_path(paths.lock)}, {left} left")
    return int(left > 0)


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
