"""OpenTelemetry spans, where opentelemetry is installed; else nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any


def span(name: str, **attributes: Any) -> AbstractContextManager[Any]:
    """A span around a piece of work, under the current one."""
    try:
        from opentelemetry import trace
    except ImportError:
        return nullcontext()
    return trace.get_tracer("cprs_core.server").start_as_current_span(name, attributes=attributes)
