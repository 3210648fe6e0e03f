"""A layer replaces what a requirement asks for, and leaves the rest of the environment as it is."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
from wheels import make_wheel

from harness.environments import Layer, layer_of
from harness.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find the wheels of the test alone, and keep environments in the test's folder."""
    for number in ("1.0", "2.0"):
        make_wheel(tmp_path / "wheels", "tinynet", number, f"number = {number}\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def printed(layer: Layer, code: str) -> str:
    """Run code in a layer's Python; return what it prints."""
    command = [layer.python, "-P", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_environment_that_meets_the_requirement_is_used_as_it_is(tmp_path: Path) -> None:
    """Nothing is made."""
    assert Layer(sys.executable, {}) == layer_of(f"packaging=={version('packaging')}")
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_layer_holds_the_requirement_and_finds_the_rest() -> None:
    """It is made once for each requirement."""
    layer = layer_of("tinynet==1.0")
    assert {"tinynet": "1.0"} == layer.replaced
    code = "import tinynet, importlib.metadata as m; print(tinynet.number, m.version('packaging'))"
    assert f"1.0 {version('packaging')}" == printed(layer, code)
    assert layer == layer_of("tinynet==1.0")
    assert "2.0" == printed(layer_of("tinynet>1"), "import tinynet; print(tinynet.number)")


@pytest.mark.slow
def test_path_is_installed_anew_each_time(tmp_path: Path) -> None:
    """Its content may have changed under the same version."""
    wheel = tmp_path / "wheels" / "tinynet-1.0-py3-none-any.whl"
    code = "import tinynet; print(tinynet.number)"
    assert "1.0" == printed(layer_of(str(wheel)), code)
    make_wheel(tmp_path / "wheels", "tinynet", "1.0", "number = 'changed'\n")
    assert "changed" == printed(layer_of(str(wheel)), code)


@pytest.mark.slow
def test_requirement_that_cannot_be_installed_leaves_nothing(tmp_path: Path) -> None:
    """The message holds what pip says."""
    with pytest.raises(HarnessError, match=r"No matching distribution found for tinynet==3\.0"):
        layer_of("tinynet==3.0")
    assert [] == [*(tmp_path / "cache" / "pytest-gpu-profile" / "environments").iterdir()]
