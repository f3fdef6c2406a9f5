"""What an output depends on: a run goes on only with the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from . import parts
from .batches import BatchCompressor

_CPU_BLOCK, _GPU_BLOCK = 2**17, 2**21  # bytes of text: half a minute to two minutes of a core, some seconds of a GPU


def settings_of(
    batch: BatchCompressor, files: Sequence[Path], format: str, output_format: str | None, block_bytes: int | None
) -> dict[str, Any]:
    """What the output depends on, JSON-ready: a run goes on only with the same."""
    written = output_format or ("parquet" if format == "parquet" else "jsonl")
    if written not in parts.FORMATS:
        raise InputError(f"unknown output format {written!r}; use one of {', '.join(parts.FORMATS)}")
    if block_bytes is None:
        block_bytes = _GPU_BLOCK if _on_gpu(batch.device) else _CPU_BLOCK
    if block_bytes < 1:
        raise InputError(f"a block must have at least one byte, got {block_bytes}")
    asked = {"input_format": format, "output_format": written, "block_bytes": block_bytes}
    return {"cprs": __version__, "inputs": _fingerprint(files), **asked, **batch.settings()}


def _on_gpu(device: str | None) -> bool:
    if device is not None:
        return "cuda" in device
    import torch

    return torch.cuda.is_available()


def _fingerprint(files: Sequence[Path]) -> dict[str, Any]:
    """Tells the files from what they were when the run was started."""
    digest, size = hashlib.sha256(), 0
    for file in files:
        status = file.stat()
        digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        size += status.st_size
    return {"files": len(files), "bytes": size, "digest": digest.hexdigest()[:16]}
