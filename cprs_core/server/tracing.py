"""OpenTelemetry spans, where opentelemetry is installed; else nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any


def span(name: str, attributes: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> AbstractContextManager[Any]:
    """A span around a piece of work, under the current one, or if there is none, that of the caller who sent ``headers``."""
    try:
        from opentelemetry import propagate, trace
    except ImportError:
        return nullcontext()
    inside = headers is None or trace.get_current_span().is_recording()
    parent = None if inside else propagate.extract(headers)
    return trace.get_tracer("cprs_core.server").start_as_current_span(name, context=parent, attributes=attributes)
