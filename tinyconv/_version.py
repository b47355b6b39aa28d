"""The version, in the one place that the build, `tinyconv.__version__` and `tinyconv --version` read."""

__version__ = "0.1.0"
