"""The process of a zygote, from pytest's side: what it waits for, and how it ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import psutil
import pytest
from projects import workload

from harness.errors import WorkloadError
from harness.probes import zygote_client
from harness.probes.zygote_client import ZygoteClient

if TYPE_CHECKING:
    from pathlib import Path

    from harness.protocol.case import CaseSpec

STOPS = """
import os, signal, sys
if "harness.zygote" in sys.orig_argv:
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.usefixtures("new_zygotes")
def test_zygote_that_is_stopped_is_told_of_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning says early that the run waits, the error says why it did, and nothing is left."""
    (tmp_path / "sitecustomize.py").write_text(STOPS, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(zygote_client, "_LONG_BUILD", 4.0)
    monkeypatch.setattr(zygote_client, "_BUILD_TIMEOUT", 4.1)
    case: CaseSpec = {
        "workload": workload("zoo.Net"),
        "sys_path": sys.path,
        "directory": None,
        "scratch": None,
    }
    before = psutil.Process().children(recursive=True)
    with pytest.raises(WorkloadError) as caught:
        ZygoteClient(tmp_path).start(case, {})
    why = "a signal such as SIGSTOP has stopped its process"
    assert f"the workload was not built within 4 s: {why}; its output is in" in str(caught.value)
    assert [f"the workload is still being built after 4 s ({why}); after 4 s that ends"] == [
        record.getMessage().partition(": ")[2] for record in caplog.records
    ]
    assert before == psutil.Process().children(recursive=True)
