"""Every error that cprs raises on purpose.

    CprsError
     |- InputError (ValueError)         a text, query or option that cannot be used
     |   |- BudgetError                 max_tokens / ratio / threshold out of range or contradictory
     |   |- InstructionError            an instruction or preset that does not name usable tags
     |   `- LimitError                  more than a service takes at once
     |- DataError (ValueError)          a training or evaluation file that cannot be read
     |- ModelLoadError (OSError)        a checkpoint that is missing, broken or of an unsupported kind
     |- DeviceError (RuntimeError)      a device, dtype or attention kernel that this machine lacks
     |- OutOfMemoryError (MemoryError)  one window alone does not fit on the device
     |- ServiceError (RuntimeError)     a service that cannot be reached, is shutting down, or fails
     |   |- AuthError (PermissionError)  an API key that is missing or wrong
     |   |- BusyError                   a service with too many requests at once
     |   `- DeadlineError (TimeoutError) a request that took longer than it may
     `- MissingExtraError (ImportError) an optional dependency; the message gives the install command

A message says what is wrong, why, and what to do next. Catching ``CprsError`` catches them all.
"""

from __future__ import annotations


class CprsError(Exception):
    """Base class of all errors raised on purpose by this package."""


class InputError(CprsError, ValueError):
    """A text, query or option that cannot be used."""


class BudgetError(InputError):
    """A budget that is out of range, or two that contradict each other."""


class InstructionError(InputError):
    """An instruction or preset that does not name usable tags."""


class LimitError(InputError):
    """More text, documents or bytes than a service takes at once."""


class DataError(CprsError, ValueError):
    """A training or evaluation file that cannot be read as documented."""


class ModelLoadError(CprsError, OSError):
    """A checkpoint that is missing, broken or of an unsupported kind."""


class DeviceError(CprsError, RuntimeError):
    """A device, dtype or attention kernel that this machine does not have."""


class OutOfMemoryError(CprsError, MemoryError):
    """A single window does not fit into the device's memory."""


class ServiceError(CprsError, RuntimeError):
    """A service that cannot be reached, is shutting down, or fails."""


class AuthError(ServiceError, PermissionError):
    """An API key that is missing or wrong."""


class BusyError(ServiceError):
    """A service that works on as many requests as it takes at once."""


class DeadlineError(ServiceError, TimeoutError):
    """A request that took longer than it may."""


class MissingExtraError(CprsError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        self._given = package, extra
        super().__init__(f"{package} is not installed; it comes with: pip install 'cprs-core[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return MissingExtraError, self._given  # so that it can leave a worker process
