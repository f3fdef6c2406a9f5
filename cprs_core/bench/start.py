"""What a user waits for: a new process that loads a model, answers a first question, and compresses a longer text."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from ..errors import CprsError
from .options import Options
from .sides import Side

_PROCESS = """
import json, sys, time
times = [time.perf_counter()]
from cprs_core.compressor import ContextCompressor
times.append(time.perf_counter())
model, device, dtype, kernel = sys.argv[1:]
compressor = ContextCompressor.from_pretrained(model, device=device, dtype=dtype, attn_implementation=kernel or None)
times.append(time.perf_counter())
text, query = "The ferry leaves at nine. It rains. ", "When does the ferry leave?"
compressor.compress(text, query)
times.append(time.perf_counter())
from cprs_core.bench.measure import HostMemory
with HostMemory() as memory:
    compressor.compress(text * 400, query)
steps = [after - before for before, after in zip(times, times[1:])]
print(json.dumps({**dict(zip(("import", "load", "first"), steps)), "peak_bytes": memory.peak}))
"""


def start(side: Side, options: Options) -> dict[str, Any]:
    """Seconds to ``import`` what the model needs, to ``load`` it and to the ``first`` answer, and the process's highest
    resident bytes while it compresses 3,600 words. The straightforward way loads the model as transformers does.

    Raises:
        CprsError: the process failed.
    """
    device = options.device.partition(",")[0]
    given = (options.model, device, side.dtype, "sdpa" if side.is_plain else "")
    done = subprocess.run([sys.executable, "-c", _PROCESS, *given], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CprsError(f"a new process could not run {options.model}: {done.stderr.strip().splitlines()[-1]}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures
