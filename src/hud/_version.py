"""The one place the version is written; the build and `hud.__version__` both read it."""

__version__ = "0.7.0"
