"""``POST /v1/scores``: what can be kept of a text, with its scores, so that a client selects for many budgets by the rule of
:func:`cprs_core.selection.select` and the model runs once."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ..budget import check_budget
from ..instruction import Instruction
from ..selection import Scored, cuts
from ..spans import Candidates
from .events import EVENTS, Emit, dump, events
from .problems import OF_POST, documented
from .routes import checked_count, service_of
from .schemas import ScoresRequest, ScoresResponse
from .service import Service
from .tracing import span

router = APIRouter()


@router.post("/v1/scores", response_model=ScoresResponse, responses=EVENTS | documented(*OF_POST))
async def scores(body: ScoresRequest, request: Request) -> Response:
    """The pieces of a text that a compression chooses from. With ``stream``: events ``progress`` (windows done, windows in
    all), then ``done`` with the answer, or ``error`` with a problem."""
    service, instruction = service_of(request), body.wanted()
    if body.stream:
        # What is wrong with the request is said by the status, before the stream begins.
        await service.run(request, lambda: _check(service, body, instruction))
        return events(request, lambda emit: emit(("done", answer(service, body, instruction, emit))))

    def whole() -> bytes:
        _check(service, body, instruction)
        return dump(answer(service, body, instruction))

    return Response(await service.run(request, whole), media_type="application/json")


def _check(service: Service, body: ScoresRequest, instruction: Instruction) -> None:
    check_budget(body.max_tokens, None, body.threshold)
    instruction.render(body.query)
    checked_count(service, [body.text])


def answer(service: Service, body: ScoresRequest, instruction: Instruction, emit: Emit | None = None) -> dict[str, Any]:
    """The answer to a request; how far it is goes to ``emit``."""

    def progress(done: int, windows: int) -> None:
        if emit is not None:
            emit(("progress", {"done": done, "windows": windows}))

    compressor, began = service.compressor, time.perf_counter()
    with span("cprs.scores", {"cprs.documents": 1}):
        found = compressor.candidates(
            body.text, body.query, instruction, max_tokens=body.max_tokens, threshold=body.threshold, progress=progress
        )
        read = len(found.scores.starts)
        service.metrics.texts(read, 0)
        return {
            "model": compressor.model_name,
            "query": body.query,
            "instruction": instruction.prompt,
            "unit": instruction.unit,
            "tags": list(instruction.tags),
            "input_tokens": read,
            "seconds": time.perf_counter() - began,
            "skimmed_to": found.skimmed_to,
            **pieces(found, body.cuts),
        }


def pieces(found: Scored, smaller: bool) -> dict[str, Any]:
    """The candidates by column, and if so wished what they can be cut into."""
    kept = {"kept": found.candidates.kept.tolist(), "whole": found.candidates.whole.tolist()}
    columns = {"candidates": {**_columns(found.candidates), **kept}}
    return columns | (dict(zip(("clauses", "words"), map(_columns, cuts(found)), strict=True)) if smaller else {})


def _columns(pieces: Candidates) -> dict[str, list[Any]]:
    return {name: getattr(pieces, name).tolist() for name in ("starts", "ends", "scores", "tags", "tokens")}
