"""Provides Vega-Lite's JavaScript, which vl-convert-python ships, for a page of its own."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from harness.bounded_file import UnreadableFileError, read_bounded
from harness.errors import HarnessError
from harness.files import replacing

_NEEDED = ("jinja2", "vl_convert")
_COMMAND = "pip install 'pytest-gpu-profile[report]'"
# Of the bundle only what the page calls: `vegaEmbed` compiles, draws and answers the pointer.
_SNIPPET = "window.vegaEmbed = vegaEmbed;"
_MAX_BYTES = 4 << 20
# A text in a script ends it where it holds one of these; a backslash there changes no meaning.
_ENDS_SCRIPT = re.compile(r"<(?=/script|!--|script)", re.IGNORECASE)


def is_available() -> bool:
    """Return whether the extra `report` is installed; imports nothing."""
    return all(find_spec(name) is not None for name in _NEEDED)


def require() -> None:
    """Raise HarnessError, with the command that installs it, where the extra is missing."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        names = " and ".join({"vl_convert": "vl-convert-python"}.get(one, one) for one in missing)
        raise HarnessError(
            f"the page of a report needs {names}, which {'is' if len(missing) == 1 else 'are'} not "
            f"installed; install the extra with: {_COMMAND}"
        )


def chart_library() -> str:
    """Return the JavaScript that defines `vegaEmbed`, safe inside of a script element.

    To bundle it takes a second or more, so it is kept in the user's cache, by its version.
    """
    kept = _cache() / f"vega-embed-{metadata.version('vl-convert-python')}.js"
    with suppress(UnreadableFileError, UnicodeDecodeError):
        data = read_bounded(kept, _MAX_BYTES)
        if data and data.endswith(_SNIPPET.encode()):
            return data.decode()
    import vl_convert  # noqa: PLC0415 - optional, and only a page needs it

    bundle = f"{_harmless(vl_convert.javascript_bundle(_SNIPPET))}\n// {_SNIPPET}"
    # A home that cannot be written costs the second each time.
    with suppress(OSError), replacing(kept) as temporary:
        temporary.write_text(bundle, encoding="utf-8")
    return bundle


def _harmless(script: str) -> str:
    return _ENDS_SCRIPT.sub(r"\\x3c", script)


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(home) if home.startswith("/") else Path.home() / ".cache"
    return folder / "pytest-gpu-profile"
