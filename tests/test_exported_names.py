"""The public surface: what users may import, and what each folder hands out."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import harness

PACKAGE = Path(harness.__file__).parent
DOORS = {
    "harness": [
        "BucketBatchSampler",
        "Estimate",
        "FoundBatchSize",
        "HarnessError",
        "LockedProfile",
        "Tuned",
        "apply",
        "calculate_adjusted_epochs",
        "epochs_for_equal_updates",
        "estimate",
        "find_optimal_batch_size",
        "load_profile",
        "optuna",
        "profile_callback",
        "scale_learning_rate",
        "tune",
    ],
    "harness.testing": ["GpuProfile", "Training", "test_gpu_profile"],
    "harness.search": ["SearchResult", "search"],
    "harness.lr_range": ["Suggestion", "diverged", "geometric_sweep", "suggest"],
    "harness.workload": ["SyntheticImages", "SyntheticTokens", "Workload"],
}
"""What documents name: these stay."""

FOLDERS = sorted(
    ".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("__init__.py")
)


def exported(name: str) -> list[str]:
    """Return what a package says it exports."""
    return list(getattr(importlib.import_module(name), "__all__", []))


@pytest.mark.parametrize("name", DOORS)
def test_public_names_are_these(name: str) -> None:
    """Nothing is added to, or lost from, what users import by accident."""
    assert sorted(DOORS[name]) == sorted(exported(name))


@pytest.mark.parametrize("name", FOLDERS)
def test_exported_names_are_there(name: str) -> None:
    """Each name in a folder's `__all__` can be imported from it."""
    module = importlib.import_module(name)
    assert [] == [public for public in exported(name) if not hasattr(module, public)]


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_export_what_they_import(name: str) -> None:
    """A folder's `__init__` imports names only to hand them out."""
    path = PACKAGE.parent.joinpath(*name.split("."), "__init__.py")
    imported = {
        alias.asname or alias.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        and node.module not in ("__future__", "typing", "harness._lazy")
        for alias in node.names
    }
    assert imported <= {*exported(name)}


def test_lazy_names_are_listed_and_others_are_refused() -> None:
    """`dir(harness)` shows the public names before their first use; a misspelt one is an error."""
    assert DOORS["harness"] == dir(harness)
    with pytest.raises(AttributeError, match="module 'harness' has no attribute 'load_profiles'"):
        _ = harness.load_profiles


def test_synthetic_data_have_two_names() -> None:
    """Matrices name them in `harness.synthetic`, older ones in `harness.workload`."""
    synthetic = importlib.import_module("harness.synthetic")
    workload = importlib.import_module("harness.workload")
    assert synthetic.SyntheticImages is workload.SyntheticImages
    assert synthetic.SyntheticTokens is workload.SyntheticTokens
