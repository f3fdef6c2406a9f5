"""How many arenas glibc's malloc has once many threads have asked it for memory, in a process of its own."""

import os
import platform
import subprocess
import sys

import pytest

CODE = """
import ctypes, sys, threading
if sys.argv[1] == "few":
    from cprs_core.server.arenas import few_arenas
    few_arenas()
together = threading.Barrier(12)
def work():
    some = [bytes(5_000) for _ in range(100)]
    together.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def arenas(how, **variables):
    environ = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"} | variables
    told = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True, env=environ)
    return told.stdout.count("<heap nr=")


@pytest.mark.skipif("glibc" not in platform.libc_ver(), reason="glibc's malloc alone has arenas")
def test_threads_share_two_arenas():
    assert arenas("few") <= 2 < arenas("default")
    assert arenas("few", MALLOC_ARENA_MAX="5") > 2, "who sets the variable decides"
