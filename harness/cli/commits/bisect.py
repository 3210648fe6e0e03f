"""The verb `gpu-profile bisect`: finds the commit that made the predicted batch smaller."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.bounds.sizes import smallest_allowed
from harness.cli.answers.answer import Answer
from harness.cli.commits.documents import bisect_document
from harness.cli.commits.found import Found
from harness.cli.commits.revisions import Revisions
from harness.cli.common import say, say_aside
from harness.cli.elsewhere.growth import growth_lines
from harness.cli.elsewhere.run import ended_by_sigterm
from harness.errors import HarnessError
from harness.git.bisection import Bisection, info, resolve
from harness.report.words import relative_change
from harness.visible import cut, one_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from harness.cli.elsewhere.answers import CaseAnswer
    from harness.git.bisection import CommitInfo

_SHOWN_HASH = 10
_SHOWN_CANDIDATES = 20


def bisect(options: argparse.Namespace) -> Answer:
    """Predict commits between a good one and a bad one; print the first bad one.

    The exit code is 1 where several are left, because commits between them could not be predicted.
    """
    with ended_by_sigterm():
        revisions = Revisions(options)
        found = _search(options, revisions)
        found = _with_holders(found, revisions)
    say("\n".join(_lines(options.case, found)))
    return Answer(int(len(found.first_bad) > 1), bisect_document(options.case, found))


def _search(options: argparse.Namespace, revisions: Revisions) -> Found:
    top = revisions.top
    good, bad = resolve(top, options.good), resolve(top, options.bad)
    bisection = Bisection(top, good.name, bad.name)
    if (top / ".gitmodules").exists():
        say_aside("note: submodules are not checked out; --link PATH links to those that are here")
    at_good = _known(revisions, good, "--good", options.good)
    at_bad = _known(revisions, bad, "--bad", options.bad)
    threshold = _threshold(options, at_good, at_bad)
    found = Found(good, at_good, [bad], at_bad, threshold, predictions=2)
    answers: dict[str, CaseAnswer] = {good.name: at_good, bad.name: at_bad}
    while (name := bisection.next()) is not None:
        commit = info(top, name)
        left = math.ceil(math.log2(len(bisection.candidates())))
        answer = revisions.predict(commit)
        found.predictions += 1
        if answer["kind"] == "refused":
            found.skipped[name] = answer["reason"]
            told = f"skipped: {cut(answer['reason'])}"
            bisection.tell(name, good=None)
        else:
            answers[name] = answer
            is_good = answer["max_batch_size"] >= threshold
            told = f"max batch {answer['max_batch_size']}, {'good' if is_good else 'bad'}"
            bisection.tell(name, good=is_good)
        say_aside(
            f"revision {found.predictions - 2}, about {max(0, left - 1)} more: "
            f"{_shown(commit)}: {told}"
        )
    left_over = [info(top, one) for one in bisection.candidates()]
    found.first_bad = sorted(left_over, key=lambda one: one.name != bisection.bad)
    found.at_bad = answers[bisection.bad]
    before = next((one for one in bisection.last_good() if one in answers), good.name)
    found.good, found.at_good = info(top, before), answers[before]
    return found


def _known(revisions: Revisions, commit: CommitInfo, flag: str, given: str) -> CaseAnswer:
    answer = revisions.predict(commit)
    if answer["kind"] == "refused":
        if answer["detail"]:
            say_aside(answer["detail"])
        raise HarnessError(f"{flag} {given} ({_shown(commit)}): {answer['reason']}")
    say_aside(f"{flag} {_shown(commit)}: max batch {answer['max_batch_size']}")
    return answer


def _threshold(options: argparse.Namespace, at_good: CaseAnswer, at_bad: CaseAnswer) -> int:
    """Return the smallest batch that is good. Raises HarnessError where the ends contradict it."""
    good, bad = at_good["max_batch_size"], at_bad["max_batch_size"]
    ends = f"max batch {good} at --good, {bad} at --bad"
    if options.below is not None:
        if good < options.below:
            raise HarnessError(f"{ends}: --good is below {options.below} already")
        if bad >= options.below:
            raise HarnessError(f"{ends}: --bad is not below {options.below}")
        return int(options.below)
    if not good:
        raise HarnessError(f"{ends}: nothing fits at --good, so nothing can have become worse")
    threshold = smallest_allowed(good, at_good["max_drop"])
    if bad >= threshold:
        bounds = {at_good["bounded_by"], at_bad["bounded_by"]} - {"memory"}
        why = f"; {' and '.join(sorted(bounds))} bounds it, not the memory alone" if bounds else ""
        raise HarnessError(
            f"{ends}: --bad is within the bound of --good, which allows {threshold}{why}; "
            "--below N draws another line"
        )
    return threshold


def _with_holders(found: Found, revisions: Revisions) -> Found:
    """Predict both sides of the change again, and ask what holds the memory."""
    if len(found.first_bad) == 1:
        for name, commit in (("at_good", found.good), ("at_bad", found.first_bad[0])):
            answer = revisions.predict(commit, beside=found.at_good)
            if answer["kind"] == "predicted":
                setattr(found, name, answer)
    return found


def _lines(case: str, found: Found) -> Iterator[str]:
    first, *others = found.first_bad
    then, now = found.at_good["max_batch_size"], found.at_bad["max_batch_size"]
    where = f"{found.at_bad['gpu']}, predicted with torch {found.at_bad['torch']}"
    if others:
        yield f"the first bad commit of {case} is one of {len(found.first_bad)}: those between them"
        yield "could not be predicted"
        yield ""
        for commit in (*reversed(others[:_SHOWN_CANDIDATES]), first):
            yield f"  {_shown(commit)}{_why(found, commit)}"
        if len(others) > _SHOWN_CANDIDATES:
            yield f"  and {len(others) - _SHOWN_CANDIDATES} others"
    else:
        yield f"{first.name} is the first bad commit of {case}"
        yield f"author  {one_line(first.author)}"
        yield f"date    {first.date.date().isoformat()}"
        yield f"        {cut(first.subject)}"
    yield ""
    change = relative_change(now, then) if then else ""
    yield f"max batch {then} -> {now}  {change}  on {where}; below {found.threshold} is bad"
    if others:
        return
    if changes := found.changes():
        yield ""
        yield "what changed of the case and its settings:"
        yield from (f"  {cut(one)}" for one in changes)
    if growths := found.grown():
        yield ""
        yield f"what holds more memory at the peak of batch {then} than before:"
        yield from growth_lines(growths)
    elif then and now and not changes:
        yield ""
        yield "no module holds more memory at the same batch size"


def _why(found: Found, commit: CommitInfo) -> str:
    reason = found.skipped.get(commit.name)
    return "" if reason is None else f": {cut(reason)}"


def _shown(commit: CommitInfo) -> str:
    return f"{commit.name[:_SHOWN_HASH]} {cut(commit.subject)}".rstrip()
