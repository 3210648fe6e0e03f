"""Waits in each Python of a program until it imports torch, and then begins to look into it.

Python imports this module by its name when it starts, whatever its version. So it needs nothing but
the standard library, imports little, and gives way to the `sitecustomize` that it hides. A Python
without torch pays one file that is made.
"""

# Every Python of the program pays for what is imported at the top, and some know no annotations.
# ruff: noqa: ANN001, ANN202, ANN204, PLC0415
# mypy: ignore-errors

import os
import sys

_VARIABLE = "GPU_PROFILE_COMMAND"
_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib costs its import


def _give_way():
    """Import the module of this name that Python would have found without this one."""
    sys.path[:] = [one for one in sys.path if os.path.abspath(one or ".") != _HERE]  # noqa: PTH100
    mine = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401 - for what it does
    except ImportError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        sys.modules.setdefault("sitecustomize", mine)


class _WaitsForTorch:
    """Finds torch as Python would, and begins when it has been imported.

    Libraries also ask only whether there is a torch, before any is imported.
    """

    def __init__(self, folder):
        self.folder = folder
        self.is_asking = False

    def find_spec(self, name, path=None, target=None):
        if name != "torch" or self.is_asking:
            return None
        del path, target
        from importlib.util import find_spec

        self.is_asking = True
        try:
            spec = find_spec(name)
        finally:
            self.is_asking = False
        if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
            return spec
        run = spec.loader.exec_module

        def run_and_begin(module):
            sys.meta_path[:] = [one for one in sys.meta_path if one is not self]
            run(module)
            _begin(module, self.folder)

        spec.loader.exec_module = run_and_begin
        return spec


def _begin(torch, folder):
    try:
        _agent().begin(torch, folder)
    except Exception as error:  # noqa: BLE001 - the probe tells it; the program goes on
        with open(os.path.join(folder, "broken"), "w", encoding="utf-8") as file:  # noqa: PTH118, PTH123
            file.write(
                "Python %d.%d: %s: %s" % (*sys.version_info[:2], type(error).__name__, error)  # noqa: UP031
            )


def _agent():
    """Import what looks into the process, from the package that this file lies in.

    The program may have none of it on its path, another version, or a package of its own under the
    same name. So ours leaves no trace among the modules that the program finds.
    """
    import importlib
    import importlib.util

    package = "harness"
    root = os.path.dirname(os.path.dirname(_HERE))  # noqa: PTH120
    theirs = {
        name: module
        for name, module in list(sys.modules.items())
        if name == package or name.startswith(package + ".")
    }
    for name in theirs:
        del sys.modules[name]
    spec = importlib.util.spec_from_file_location(
        package,
        os.path.join(root, "__init__.py"),  # noqa: PTH118
        submodule_search_locations=[root],
    )
    try:
        sys.modules[package] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[package])
        return importlib.import_module(package + ".commands.inside.agent")
    finally:
        for name in list(sys.modules):
            if name == package or name.startswith(package + "."):
                del sys.modules[name]
        sys.modules.update(theirs)


_give_way()
if _VARIABLE in os.environ:
    try:
        # So that a program without Python is told from one without torch.
        os.close(os.open(os.path.join(os.environ[_VARIABLE], "python"), os.O_CREAT))  # noqa: PTH118
        sys.meta_path.insert(0, _WaitsForTorch(os.environ[_VARIABLE]))
    except OSError:
        pass  # the folder has gone with its probe, which this process has outlived
