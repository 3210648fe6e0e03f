"""The YAML reader follows the core schema of YAML 1.2, keeps positions, and refuses bombs."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harness.matrix.yaml12.nodes import Position, Problem
from harness.matrix.yaml12.reader import read_yaml
from harness.matrix.yaml12.tree_builder import MAX_DEPTH


def only_problem(text: str) -> Problem:
    """Return the only problem of a text."""
    (problem,) = read_yaml(text).problems
    return problem


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("null", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("FALSE", False),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("0", 0),
        ("-12", -12),
        ("+3", 3),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("1e-6", 1e-6),
        ("1E3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5e1", -5.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        (".", "."),
        ("1e", "1e"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("!!str 1", "1"),
        ("2%", "2%"),
        ("32-true", "32-true"),
    ],
)
def test_plain_scalars_are_those_of_the_core_schema(written: str, expected: object) -> None:
    """Plain scalars have the types of YAML 1.2, not those of PyYAML."""
    actual = read_yaml(written).root
    assert (type(expected), expected) == (type(actual), actual)


def test_not_a_number_is_a_float() -> None:
    """`.NaN` is read as a float."""
    assert math.isnan(read_yaml(".NaN").root)


def test_every_key_and_item_has_its_position() -> None:
    """Positions count from 1; a path that is not in the file has that of its last known part."""
    document = read_yaml("a:\n  b: [1,\n      {c: 2}]\n")
    assert [Position(2, 3), Position(3, 7), Position(3, 8), Position(3, 8), Position(1, 1)] == [
        document.position(path)
        for path in (("a", "b"), ("a", "b", 1), ("a", "b", 1, "c"), ("a", "b", 1, "c", "x"), ("z",))
    ]


def test_each_duplicate_key_is_a_problem_and_reading_goes_on() -> None:
    """All duplicate keys are reported, nested ones too, and the first value stays."""
    document = read_yaml("a: 1\nb: {c: 1, c: 2}\na: 3\n")
    assert (
        {"a": 1, "b": {"c": 1}},
        (
            Problem(2, "duplicate key 'c': it is also in line 2"),
            Problem(3, "duplicate key 'a': it is also in line 1"),
        ),
    ) == (document.root, document.problems)


@pytest.mark.parametrize(
    ("written", "spelt"), [("1", "1"), ("true", "true"), ("null", "null"), ("0.5", "0.5")]
)
def test_a_key_that_is_no_string_is_a_problem(written: str, spelt: str) -> None:
    """A key that is no string is a problem, because JSON and TOML only have string keys."""
    assert Problem(1, f'the key {spelt} is not a string: write "{spelt}"') == only_problem(
        f"{written}: x"
    )


def test_an_alias_stands_for_what_its_anchor_is_at() -> None:
    """An alias has the value of its anchor."""
    assert read_yaml("a: &x [1, 2]\nb: *x\n").root == {"a": [1, 2], "b": [1, 2]}


def bomb(levels: int) -> str:
    """Return a file in which every level has ten aliases of the level before."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


def test_aliases_cannot_blow_up() -> None:
    """A file of nine lines with 10^9 values is refused at the line that exceeds the limit."""
    assert Problem(6, "more than 500,000 values, aliases counted") == only_problem(bomb(9))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x [1, *x]", "*x refers to the collection that it is part of"),
        ("a: *x", "*x is not defined above; define it with &x"),
        (
            "<<: {a: 1}",
            "YAML 1.2 has no merge key `<<`: write the keys out, or move them to the top level",
        ),
        (
            "a: !!python/object:os.system x",
            "the tag !!python/object:os.system is not supported: remove it",
        ),
        ("a: !foo {}", "the tag !foo is not supported: remove it"),
        ("%YAML 1.1\n--- {}", "this file is read as YAML 1.2: remove the %YAML directive"),
        ("a: 1\n--- \nb: 2", "a second YAML document starts here; one is allowed"),
        ("? [a]\n: b", "a key must be a word or a quoted string, not a collection"),
        ("a: \x01", "the character U+0001 is not allowed: remove it, or escape it in quotes"),
        ("a: x\u2028y", "the character U+2028 is not allowed: remove it, or escape it in quotes"),
        ("a: " + "9" * 5000, "the number 99999999999999999999… has too many digits"),
    ],
)
def test_what_the_reader_does_not_take_is_named(text: str, expected: str) -> None:
    """Merge keys, tags, directives and other unsupported YAML each have a message of their own."""
    assert expected == only_problem(text).message


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_depth_is_bounded(opening: str) -> None:
    """Deep nesting in any style is a problem, and never a RecursionError."""
    assert f"nested more than {MAX_DEPTH} levels deep" == only_problem(opening * 100_000).message


def test_depth_counts_through_aliases() -> None:
    """Nesting through aliases counts towards the same limit."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 60)]
    assert Problem(MAX_DEPTH, f"nested more than {MAX_DEPTH} levels deep") == only_problem(
        "\n".join(lines)
    )


@pytest.mark.parametrize("text", ["a: {b: ${x}}", "a: [1, ${x}]", "a: {b: 'ok', c: pre-${x}-post}"])
def test_an_unquoted_reference_between_brackets_gets_a_hint(text: str) -> None:
    """YAML reads the inner brace as a mapping, so the message asks for quotes."""
    assert only_problem(text).message.endswith(
        'between braces or brackets it must be quoted: "${x}"'
    )


def test_an_unquoted_reference_in_a_block_is_a_string() -> None:
    """Outside of brackets and braces, an unquoted reference is a string."""
    assert read_yaml("a: ${x}").root == {"a": "${x}"}


def test_a_tab_as_indentation_gets_a_hint() -> None:
    """A tab as indentation is a problem, and the message asks for spaces."""
    problem = only_problem("a:\n\tb: 1\n")
    assert (problem.line, problem.message.endswith("indent with spaces, not tabs")) == (2, True)


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [1,\n2", 2), ("a: 'x", 1), ("\n\na: ]", 3), ("a: b: c", 1), ("a: @x", 1)],
)
def test_a_syntax_error_has_its_line(text: str, line: int) -> None:
    """A syntax error is one problem, at a line that the file has."""
    problem = only_problem(text)
    assert (True, line) == (problem.message.startswith("not valid YAML: "), problem.line)


@pytest.mark.parametrize("empty", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_null(empty: str) -> None:
    """A file without a document, or with an empty one, is null."""
    actual: Any = read_yaml(empty)
    assert (actual.root, actual.problems) == (None, ())


def test_data_may_have_whole_numbers_as_keys() -> None:
    """Inside of an argument, a key may be a whole number, also beside the same text."""
    read = read_yaml('init_args: {by: {0: 8, 0x4: [{-1: 2}], "0": 1}}')
    assert () == read.problems
    assert {"init_args": {"by": {0: 8, 4: [{-1: 2}], "0": 1}}} == read.root
    assert Position(1, 18) == read.position(("init_args", "by", 0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("init_args: {0: 8}", 'the key 0 is not a string: write "0"'),
        ("models: {0: {}}", 'the key 0 is not a string: write "0"'),
        ("trainer: {0: 8}", 'the key 0 is not a string: write "0"'),
        ("init_args: {by: {0: 8, 0x0: 4}}", "duplicate key 0: it is also in line 1"),
        *(
            (
                f"init_args: {{by: {{{key}: 8}}}}",
                f'the key {key} is neither a string nor a whole number: write "{key}" for a string',
            )
            for key in ("0.5", "true", "null")
        ),
    ],
)
def test_other_keys_that_are_no_strings_are_mistakes(text: str, message: str) -> None:
    """Names are strings, and data have no fractions, truth values or nothing as keys."""
    assert Problem(1, message) == only_problem(text)
