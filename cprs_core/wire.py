"""What goes over the wire between a client and a service: bodies, results, events and problems. Plain functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from . import errors
from .budget import check_budget
from .errors import CprsError, InputError, ServiceError
from .instruction import Instruction, check_text
from .result import Compression, Span

PROBLEM = "urn:cprs:"
_REFUSALS = {401: errors.AuthError, 413: errors.LimitError, 429: errors.BusyError}


def slug(kind: type[CprsError]) -> str:
    """The last part of a problem's type: ``BudgetError`` is ``budget-error``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__).lower()


_KINDS = {slug(kind): kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CprsError)}


def content(body: Any) -> dict[str, Any]:
    """The arguments of a request with a JSON body."""
    if body is None:
        return {}
    return {"content": json.dumps(body).encode(), "headers": {"Content-Type": "application/json"}}


def documents(texts: Sequence[str], query: str, instruction: Any, limits: dict[str, Any]) -> dict[str, Any]:
    """The body of a compression of documents."""
    for index, text in enumerate(_listed("documents", texts)):
        check_text(f"documents[{index}]", text)
    return {"documents": list(texts), **_asked(query, instruction, limits)}


def pairs(texts: Sequence[tuple[str, str]], instruction: Any, limits: dict[str, Any]) -> dict[str, Any]:
    """The body of a compression of (text, query) pairs."""
    for index, pair in enumerate(_listed("pairs", texts)):
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InputError(f"pairs[{index}] must be a (text, query) pair, got {type(pair).__name__}")
        check_text(f"the text of pairs[{index}]", pair[0])
        Instruction.sentences().render(pair[1])
    asked = _asked(None, instruction, limits)
    return {"pairs": [{"text": text, "query": query} for text, query in texts], **asked}


def stream(text: str, query: str, instruction: Any, threshold: float | None) -> dict[str, Any]:
    """The body of a compression whose spans come one by one."""
    check_text("text", text)
    return {"text": text, "stream": True, **_asked(query, instruction, {"threshold": threshold})}


def parsed(reply: bytes) -> Any:
    """A JSON response.

    Raises:
        ServiceError: it is none.
    """
    try:
        return json.loads(reply)
    except ValueError:
        raise ServiceError(
            "the answer is not JSON; check that the url is that of a service started with cprs serve"
        ) from None


def results(reply: bytes, texts: Sequence[str]) -> list[Compression]:
    """The results of a compression of ``texts``."""
    return [
        Compression(
            source=text,
            spans=tuple(Span(**span) for span in row["spans"]),
            **{name: row[name] for name in ("input_tokens", "kept_tokens", "query", "instruction", "model", "seconds")},
        )
        for text, row in zip(texts, parsed(reply)["results"], strict=True)
    ]


def failure(status: int, reply: bytes) -> CprsError:
    """The error that a problem was made of; a ServiceError where the answer is not one of ours."""
    try:
        problem = json.loads(reply)
        kind, detail = problem["type"].removeprefix(PROBLEM), f"{problem['detail']} (request {problem['request_id']})"
    except (ValueError, KeyError, TypeError, AttributeError):
        kind, detail = "", f"the service answered with status {status}; is there one at this url?"
    if kind in _KINDS and kind != "missing-extra-error":
        return _KINDS[kind](detail)
    return _REFUSALS.get(status, InputError if status == 422 else ServiceError)(detail)


class Events:
    """Server-sent events, line by line, to spans."""

    def __init__(self) -> None:
        self._name, self._done = "", False

    def __call__(self, line: str) -> Iterator[Span]:
        field, _, value = line.partition(": ")
        if field == "event":
            self._name = value
            self._done = self._done or value == "done"
        elif field == "data" and self._name == "span":
            yield Span(**json.loads(value))
        elif field == "data" and self._name == "error":
            raise failure(json.loads(value)["status"], value.encode())

    def end(self) -> None:
        """Raises ServiceError if the stream broke off."""
        if not self._done:
            raise ServiceError("the stream broke off before its end; send the request again")


def _listed(name: str, values: Any) -> Sequence[Any]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise InputError(f"{name} must be a list, not {type(values).__name__}; for a single text use compress()")
    return values


def _asked(query: str | None, instruction: Any, limits: dict[str, Any]) -> dict[str, Any]:
    """What to keep and how much, checked as far as no model is needed."""
    unknown = sorted(limits.keys() - {"max_tokens", "ratio", "threshold"})
    if unknown:
        raise TypeError(f"unexpected keyword arguments: {', '.join(unknown)}")
    check_budget(*(limits.get(name) for name in ("max_tokens", "ratio", "threshold")))
    wanted = Instruction.of(instruction)
    body: dict[str, Any] = {"instruction": {"prompt": wanted.prompt, "tags": list(wanted.tags), "unit": wanted.unit}}
    if query is not None:
        wanted.render(query)
        body["query"] = query
    if limits.get("max_tokens") is not None:
        body["max_tokens"] = int(limits["max_tokens"])
    return body | {name: float(limits[name]) for name in ("ratio", "threshold") if limits.get(name) is not None}
