"""Errors as RFC 9457 problems: which status, which type, and nothing of what was sent."""

from __future__ import annotations

import json
import logging
import traceback
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from .. import errors
from ..errors import CprsError
from ..wire import PROBLEM, slug
from .ticket import Gone

_logger = logging.getLogger("cprs_core.server")
MEDIA_TYPE = "application/problem+json"
_STATUS: dict[type[CprsError], int] = {
    errors.LimitError: 413,
    errors.InputError: 422,
    errors.AuthError: 401,
    errors.BusyError: 429,
    errors.DeadlineError: 504,
    errors.ServiceError: 503,
}
_TITLES = {
    413: "Too large",
    422: "Unusable input",
    504: "Deadline exceeded",
}
_DETAILS = {  # what the framework says, and what helps
    "There was an error parsing the body": "the body is no JSON: not UTF-8, nested too deeply, or with too long a number",
    "Not Found": "there is nothing at this path; the routes are described at /docs",
    "Method Not Allowed": "this path does not take this method; the routes are described at /docs",
}
_RETRY = {429: "1", 503: "5"}  # seconds


def content(error: Exception, request_id: str) -> dict[str, Any]:
    """The problem of an error. What is no error on purpose is our fault, and its message stays in the house."""
    type_, detail = "about:blank", "the service failed; its log has more under this request_id"
    status = 500
    if isinstance(error, CprsError):
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
        type_, detail = PROBLEM + slug(type(error)), str(error)
    elif isinstance(error, RequestValidationError):
        status, type_, detail = 422, PROBLEM + slug(errors.InputError), _validation(error)
    elif isinstance(error, HTTPException):
        status, detail = error.status_code, _DETAILS.get(error.detail, str(error.detail))
        type_ = PROBLEM + slug(errors.LimitError) if status == 413 else type_
    return {"type": type_, "title": _title(status), "status": status, "detail": detail, "request_id": request_id}


def response(error: Exception, request_id: str) -> Response:
    """The problem of an error as a response."""
    body = content(error, request_id)
    headers = dict(getattr(error, "headers", None) or {})
    status = int(body["status"])
    if status in _RETRY:
        headers["Retry-After"] = _RETRY[status]
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(json.dumps(body), status, headers, MEDIA_TYPE)


async def handle(request: Request, error: Exception) -> Response:
    """The exception handler of the application."""
    if isinstance(error, Gone):
        raise error
    return response(error, request.scope["cprs.id"])


def log_fault(request_id: str, error: BaseException) -> None:
    """Where it happened, but no message: that may quote what was sent."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    _logger.error("%s failed with %s\n%s", request_id, type(error).__name__, frames)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems of a route, for its description."""
    texts = {name: {"type": "string"} for name in ("type", "title", "detail", "request_id")}
    properties = {**texts, "status": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {code: {"description": _title(code), "content": {MEDIA_TYPE: {"schema": schema}}} for code in statuses}


OF_ANY = (401, 500)
OF_POST = (400, *OF_ANY, 408, 413, 415, 422, 429, 503, 504)


def _title(status: int) -> str:
    return _TITLES.get(status) or HTTPStatus(status).phrase.capitalize()


def _validation(error: RequestValidationError) -> str:
    """Where and what, without the values."""
    found = []
    for item in error.errors()[:5]:
        where = ".".join(str(part) for part in item["loc"] if part != "body")[:100]
        found.append(f"{where or 'the body'}: {item['msg']}" if item["type"] != "json_invalid" else "the body is not JSON")
    return "; ".join(found)
