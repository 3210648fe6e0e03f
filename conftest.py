"""Root conftest: pytester alone. The plugin comes by its entry point, and must not come twice."""

pytest_plugins = "pytester"
