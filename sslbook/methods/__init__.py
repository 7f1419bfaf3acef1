"""One file for each paper. All modules of this folder are imported, which registers the methods."""

import importlib
import pkgutil

from sslbook.methods.base import Method, Now
from sslbook.methods.registry import METHODS, Entry, Recipe, reading

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
globals().update({name: entry.method for name, entry in METHODS.items()})

__all__ = ["METHODS", "Entry", "Method", "Now", "Recipe", "reading", *METHODS]
