"""The methods of the book *Learning Without Labels*, one file each, and what they share."""

from importlib.metadata import PackageNotFoundError, version

from sslbook.memory import keep_freed_memory

try:
    __version__ = version("sslbook")
except PackageNotFoundError:  # run from a checkout on PYTHONPATH
    __version__ = "0"

keep_freed_memory()
