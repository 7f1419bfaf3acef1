"""The methods of the book *Learning Without Labels*, one file each, and what they share."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("sslbook")
except PackageNotFoundError:  # run from a checkout on PYTHONPATH
    __version__ = "0"
