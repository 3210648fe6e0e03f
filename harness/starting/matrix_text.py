"""Writes a matrix as a person would, with comments that say where each value comes from."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from harness.starting.candidates import REFERENCE, Entry, Part, Project
from harness.starting.definitions import FILL_IN, NO_LITERAL
from harness.visible import cut

if TYPE_CHECKING:
    from harness.starting.machine import Machine

_SIZE = re.compile(r"[1-9][0-9]*[MG]iB")
_MAX_FOUR_DIGITS = 0xFFFF


def matrix_text(project: Project, machine: Machine) -> str:
    """Return a matrix of what was found."""
    lines = [
        "# Which models are profiled, on which GPUs, at which resolutions. gpu-profile init found",
        f"# them in {project.read}, without running any code. Change what is not right.",
        "version: 1",
        "matrix:",
        f"  model: [{', '.join(scalar(entry.label) for entry in project.entries)}]",
        f"  gpu: [{', '.join(map(scalar, machine.gpus))}]",
        *_resolution(project),
        "models:",
    ]
    for entry in project.entries:
        lines += _entry(entry)
    lines += ["gpus:", _comment(f"On this machine: {machine.said}", 2)]
    for label, keys in machine.gpus.items():
        inside = ", ".join(f"{key}: {scalar(value)}" for key, value in keys.items())
        if "budget" in keys:
            lines.append("  # The last two let a first run on the CPU take minutes: remove them.")
            inside += ", search: {max_batch_size: 64}, lr_range: {max_seconds: 120}"
        lines.append(f"  {scalar(label)}: {{{inside}}}")
    if not machine.has_gpu:
        lines += [
            "  # A GPU that you train on elsewhere, by the name that nvidia-smi -L shows there. Add",
            "  # its label to the axis gpu, too. --gpu-profile-predict needs none of it here.",
            "  # h200: {name: NVIDIA H200}",
        ]
    if project.uses_lightning:
        lines += _trainer(project)
    return "\n".join(lines) + "\n"


def _resolution(project: Project) -> list[str]:
    values = [*project.resolutions]
    lines = []
    if values:
        lines.append(_comment(f"{values[0]} is {project.resolutions[values[0]]}", 2))
        others = [f"{value} ({project.resolutions[value]})" for value in values[1:6]]
        if others:
            lines.append(_comment(f"The code also has {', '.join(others)}", 2))
    elif project.guess is not None:
        lines.append(_comment(f"{FILL_IN} what you train at: the code has no value", 2))
        values = [project.guess]
    else:
        lines += [
            "  # No parameter was found that is a resolution, so this value only names the cases.",
            '  # "${resolution}" among the init_args below gives it to the code.',
        ]
    return [*lines, f"  resolution: [{(values or [1])[0]}]"]


def _entry(entry: Entry) -> list[str]:
    lines = [f"  {scalar(entry.label)}:"]
    lines += [_comment(comment, 4) for comment in entry.comments]
    if entry.command is not None:
        lines.append(f"    command: {json.dumps(entry.command)}")
    for part in entry.parts:
        lines += _part(part)
    return lines


def _part(part: Part) -> list[str]:
    lines = [f"    {part.key}:"]
    if part.key == "data":
        lines.append(_comment(part.definition.where, 6))
    lines.append(f"      class_path: {scalar(part.definition.class_path)}")
    if part.arguments:
        lines.append("      init_args:")
    for argument in part.arguments:
        if argument.is_resolution:
            lines.append(f"        {scalar(argument.name)}: {json.dumps(REFERENCE)}")
        elif argument.value is NO_LITERAL:
            lines.append(_comment(f"{argument.name}:  # {argument.comment}", 8))
        else:
            text = f"        {scalar(argument.name)}: {scalar(argument.value)}"
            lines.append(f"{text}  # {cut(argument.comment)}")
    if part.defaults:
        lines.append(_comment(f"Defaults: {', '.join(part.defaults)}", 6))
    return lines


def _trainer(project: Project) -> list[str]:
    calls = project.calls.trainers
    if not calls:
        return []
    first = max(calls, key=lambda call: len(call.settings))
    lines = [_comment(f"As the Trainer at {first.where}", 0)] if first.settings else []
    lines += [
        _comment(f"Left out of the Trainer at {first.where}: {one}", 0) for one in first.left_out
    ]
    others = [call.where for call in calls if call.settings != first.settings][:5]
    if others:
        lines.append(_comment(f"Other settings have the Trainers at {', '.join(others)}", 0))
    if first.settings:
        lines.append("trainer:")
        lines += [f"  {name}: {scalar(value)}" for name, value in first.settings.items()]
    return lines


def _comment(text: str, indent: int) -> str:
    return f"{' ' * indent}# {cut(text)}"


def scalar(value: Any) -> str:
    """Return a literal as YAML, on one line; a text is quoted where it is not a plain word."""
    if isinstance(value, str) and value and value.isascii():
        plain = value.replace(".", "").replace("_", "").replace("-", "")
        words = ("true", "false", "null", "inf", "nan")
        is_word = plain.isalnum() and value[0].isalpha() and value.lower() not in words
        if is_word or _SIZE.fullmatch(value):
            return value
    text = json.dumps(value, ensure_ascii=False).replace("${", "$${")
    return "".join(c if c == " " or c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number <= _MAX_FOUR_DIGITS else f"\\U{number:08x}"
