"""Root conftest: only pytester; the plugin itself comes through its entry point, and must not come twice."""

pytest_plugins = "pytester"
