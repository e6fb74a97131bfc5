"""The C library's allocator, told to keep what a forward pass frees for the next one."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

# Of glibc's malloc.h: from which size on memory is taken from the system by itself (the most that it
# allows), and how much free memory at the end of the heap is kept.
_MMAP_THRESHOLD, _LARGEST = -3, 32 << 20
_TRIM_THRESHOLD, _KEPT = -1, 1 << 30


@cache
def keep_freed_memory() -> None:
    """Of up to 1 GB. Does nothing where the C library is not glibc.

    By itself glibc returns it to the system after each layer and takes it back page by page: on two
    cores a neuron pass of `benchmarks/neurons.py` took 1.4 million page faults, 3 of its 28 processor
    seconds, and 1,000 faults with this. What is in use at most is as before.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
