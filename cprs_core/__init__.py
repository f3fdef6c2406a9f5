"""Keep the words that matter: a question, a plain-language instruction and a long text in, verbatim spans out.

    >>> from cprs_core import ContextCompressor
    >>> result = ContextCompressor.from_pretrained().compress(text, query="When does the licence end?")  # doctest: +SKIP

Importing this package loads neither torch nor a model; the first use of :class:`ContextCompressor` does.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .async_client import AsyncCprsClient as AsyncCprsClient
    from .chat.compress import MessageCompressor as MessageCompressor
    from .chat.compress import acompress_messages as acompress_messages
    from .chat.compress import compress_messages as compress_messages
    from .client import CprsClient as CprsClient
    from .compressor import ContextCompressor as ContextCompressor
    from .compressor import shared as shared
    from .errors import AuthError as AuthError
    from .errors import BudgetError as BudgetError
    from .errors import BusyError as BusyError
    from .errors import CprsError as CprsError
    from .errors import DataError as DataError
    from .errors import DeadlineError as DeadlineError
    from .errors import DeviceError as DeviceError
    from .errors import InputError as InputError
    from .errors import InstructionError as InstructionError
    from .errors import LimitError as LimitError
    from .errors import MissingExtraError as MissingExtraError
    from .errors import ModelLoadError as ModelLoadError
    from .errors import OutOfMemoryError as OutOfMemoryError
    from .errors import ServiceError as ServiceError
    from .instruction import PRESETS as PRESETS
    from .instruction import Instruction as Instruction
    from .result import Compression as Compression
    from .result import Span as Span

_HOME = {
    "ContextCompressor": "compressor",
    "shared": "compressor",
    "MessageCompressor": "chat.compress",
    "acompress_messages": "chat.compress",
    "compress_messages": "chat.compress",
    "CprsClient": "client",
    "AsyncCprsClient": "async_client",
    "Compression": "result",
    "Span": "result",
    "Instruction": "instruction",
    "PRESETS": "instruction",
    **dict.fromkeys(
        (
            "AuthError",
            "BudgetError",
            "BusyError",
            "CprsError",
            "DataError",
            "DeadlineError",
            "DeviceError",
            "InputError",
            "InstructionError",
            "LimitError",
            "MissingExtraError",
            "ModelLoadError",
            "OutOfMemoryError",
            "ServiceError",
        ),
        "errors",
    ),
}
__all__ = [*_HOME]

try:
    __version__ = version("cprs-core")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
