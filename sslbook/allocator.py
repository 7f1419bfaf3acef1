"""Keep freed memory in the process: on virtual machines every fresh page is dear."""

import ctypes
import sys


def keep_freed_memory() -> bool:
    """Tell glibc not to hand freed blocks back to the kernel after each tensor; True where that worked.

    A training step frees and takes the same megabytes thousands of times. By default glibc returns each block and
    faults it in again: on the two-core machine of `make bench` that took two thirds of the time of making views.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl and others have none
        return False
    trim_threshold, mmap_threshold = -1, -3  # names in malloc.h
    return bool(mallopt(mmap_threshold, 32 << 20) and mallopt(trim_threshold, 1 << 30))
