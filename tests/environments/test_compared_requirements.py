"""Requirements of `--compare` are read as people type them."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from harness.environments.requirements import is_met, is_path, path_of, words_of
from harness.errors import HarnessError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("torch==2.12.1", ["torch==2.12.1"]),
        ("transformers<5 peft>=0.15", ["transformers<5", "peft>=0.15"]),
        ("./dist/mine-1.0-py3-none-any.whl", ["./dist/mine-1.0-py3-none-any.whl"]),
        ("'my dir/project'", ["my dir/project"]),
        ("mine[extra] @ file:///dist/mine.whl", None),
    ],
)
def test_several_requirements_are_parted_by_blanks(text: str, words: list[str] | None) -> None:
    """A requirement itself has none."""
    if words is None:
        with pytest.raises(HarnessError, match="no requirement, which has no blanks inside"):
            words_of(text)
    else:
        assert words == words_of(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a requirement is empty"),
        ("  ", "a requirement is empty"),
        ("torch=2.12", "--compare torch=2.12: no requirement"),
        ("torch ==2.12", "--compare ==2.12: no requirement"),
        ("-r file.txt", "-r is an option, and requirements are needed"),
        ("--index-url=http://localhost torch", "--index-url=http://localhost is an option"),
        ("'torch", "No closing quotation"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    """The message says what is allowed."""
    with pytest.raises(HarnessError) as caught:
        words_of(text)
    assert message in str(caught.value)


def test_path_must_exist(tmp_path: Path) -> None:
    """It is told before pip is asked, and made absolute."""
    with pytest.raises(HarnessError, match="there is no "):
        path_of(str(tmp_path / "nothing.whl"))
    assert str(Path.cwd() / "tests") == path_of("./tests")
    assert [True, False] == [is_path("./x"), is_path("x @ https://host/x.whl")]


@pytest.mark.parametrize(
    ("word", "met"),
    [
        (f"packaging=={version('packaging')}", True),
        ("packaging", True),
        ("packaging<1", False),
        ("packaging[extra]", False),
        ("not-there-at-all", False),
        ("not-there-at-all; python_version < '3'", True),
        ("./packaging", False),
    ],
)
def test_requirements_that_are_met_need_no_environment(word: str, met: bool) -> None:
    """What is installed here is then compared as it is."""
    assert met == is_met(word)
