"""Keep glibc from giving memory back all the time."""

import ctypes
import os
import sys


def keep_memory() -> bool:
    """Tell glibc to keep freed memory; the command line does this, the library never by itself.

    glibc gives large tensors back to the system after every step and faults them in again, page by
    page, at the next: a third to a half of a training step on a CPU. The price is that the
    process stays as large as it once was. ``SMALLSET_KEEP_MEMORY=0`` switches it off.

    Returns:
        Whether it took effect: on Linux with glibc only.
    """
    if sys.platform != "linux" or os.environ.get("SMALLSET_KEEP_MEMORY") == "0":
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # their numbers in malloc.h
    return bool(
        mallopt(mmap_max, 0) and mallopt(trim_threshold, 2**31 - 1) and mallopt(top_pad, 64 << 20)
    )
