"""Memory of many threads: what they free is for all to use again."""

from __future__ import annotations

import ctypes
import os
import sys

_M_ARENA_MAX = -8  # of malloc.h
_ENOUGH = 2
_VARIABLE = "MALLOC_ARENA_MAX"


def few_arenas() -> None:
    """Threads that start from now on share two arenas of glibc's malloc, unless ``MALLOC_ARENA_MAX`` says otherwise.

    By default there are up to eight for each core, and each keeps what its threads have freed: a service that reads long
    texts in many threads grows by gigabytes on a large machine. Nothing happens where there is no glibc.
    """
    if sys.platform == "linux" and _VARIABLE not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, _ENOUGH)
