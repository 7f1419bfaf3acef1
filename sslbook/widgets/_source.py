"""A widget's module is put together from files here, because a page mounts it as one self-contained string."""

from pathlib import Path


def source(*names: str) -> str:
    """The named files of this folder, one after the other."""
    return "\n".join((Path(__file__).parent / name).read_text(encoding="utf-8") for name in names)
