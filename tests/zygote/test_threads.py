"""Threads that a building starts: which of them hinder forks, and who started them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PRELUDE = """
import ctypes, threading
from harness.zygote.threads import ThreadWatch

def native(name):
    # A thread that Python does not know, with a name as libraries give them.
    libc = ctypes.CDLL(None)
    libc.sleep.argtypes = [ctypes.c_uint]
    thread = ctypes.c_ulong()
    start = ctypes.cast(libc.pause, ctypes.c_void_p)
    assert libc.pthread_create(ctypes.byref(thread), None, start, None) == 0
    assert libc.pthread_setname_np(thread, name.encode()) == 0
    return thread
"""
MODULES = {
    "starter.py": "import __main__\n__main__.native('pool')\n",
    "package.py": "import starter\nimport after\n",
    "after.py": "",
}


@pytest.mark.parametrize(
    ("building", "expected"),
    [
        ("pass", "None"),
        ("import package", "starts 1 thread (pool, started by the import of starter)"),
        ("import after; native('late'); import colorsys", "starts 1 thread (late)"),
        ("native('jemalloc_bg_thd')", "None"),
        ("native('jemalloc_bg_thd'); native('pool')", "starts 1 thread (pool)"),
        (
            "threading.Timer(99, int).start()",
            "starts 1 thread (Thread-1)",
        ),
        ("t = threading.Thread(target=int); t.start(); t.join()", "None"),
        ("import sys; sys.meta_path = sys.meta_path[:]", "None"),
    ],
)
def test_threads_that_hinder_a_fork_are_named(tmp_path: Path, building: str, expected: str) -> None:
    """With the import that was under way; those that are prepared for a fork do not count."""
    for name, text in MODULES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    script = tmp_path / "build.py"
    script.write_text(
        PRELUDE
        + f"with ThreadWatch() as watch:\n    {building}\n"
        + textwrap.dedent("""\
        import os
        print(watch.hindrance(), flush=True)
        os._exit(0)
        """),
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert expected == done.stdout.strip()
