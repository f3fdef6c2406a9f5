"""The routes: compress, rerank, tokens, models; health, readiness and metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from ..errors import InputError, LimitError, ServiceError
from ..instruction import Instruction
from ..result import Compression, Span, join
from .events import EVENTS, Emit, dump, events
from .problems import OF_ANY, OF_POST, documented
from .schemas import (
    CompressRequest,
    CompressResponse,
    ModelBody,
    ModelsResponse,
    RerankRequest,
    RerankResponse,
    TextBody,
    TokensResponse,
)
from .service import Service
from .tracing import span

router = APIRouter()
open_router = APIRouter()  # needs no key


@router.post("/v1/compress", response_model=CompressResponse, responses=EVENTS | documented(*OF_POST))
async def compress(body: CompressRequest, request: Request) -> Response:
    """Keeps the words that matter. With ``stream``: events ``span`` as they are found, then ``done`` with totals, or
    ``error`` with a problem."""
    service = service_of(request)
    instruction, texts = body.wanted(), body.texts()
    if body.stream:
        spans = await service.run(request, lambda: _spans(service, body, instruction))
        return events(request, lambda emit: _spans_as_found(service, texts[0], spans, emit))

    def work() -> bytes:
        checked_count(service, texts)
        compressor, began = service.compressor, time.perf_counter()
        with span("cprs.compress", {"cprs.documents": len(texts)}):
            if body.pairs is not None:
                pairs = [(pair.text, pair.query) for pair in body.pairs]
                results = compressor.compress_batch(pairs, instruction, **body.limits())
            else:
                results = compressor.compress_documents(texts, body.query or "", instruction, **body.limits())
        return dump(_report(service, results, time.perf_counter() - began))

    return Response(await service.run(request, work), media_type="application/json")


@router.post("/v1/rerank", response_model=RerankResponse, responses=documented(*OF_POST))
async def rerank(body: RerankRequest, request: Request) -> Response:
    """Sorts documents by the best score of anything in them; requests and responses as Cohere and Jina have them."""
    service, texts = service_of(request), body.texts()
    if body.top_n is not None and body.top_n < 1:
        raise InputError(f"top_n must be a whole number from 1 on, got {body.top_n}")

    def work() -> bytes:
        tokens = checked_count(service, texts, exactly=True)
        with span("cprs.rerank", {"cprs.documents": len(texts)}):
            scores = service.compressor.relevance(texts, body.query, body.instruction)
        service.metrics.texts(tokens, 0)
        order = sorted(range(len(texts)), key=lambda i: -scores[i])[: body.top_n]
        results: list[dict[str, Any]] = [{"index": i, "relevance_score": scores[i]} for i in order]
        if body.return_documents:
            for result in results:
                result["document"] = {"text": texts[result["index"]]}
        model = service.compressor.model_name
        return dump({"id": request.scope["cprs.id"], "model": model, "results": results, "usage": {"total_tokens": tokens}})

    return Response(await service.run(request, work), media_type="application/json")


@router.post("/v1/tokens", responses=documented(*OF_POST))
async def tokens(body: TextBody, request: Request) -> TokensResponse:
    """Counts tokens as budgets do."""
    service = service_of(request)
    number = await service.run(request, lambda: service.compressor.count_tokens(body.text))
    return TokensResponse(model=service.compressor.model_name, tokens=number)


@router.get("/v1/models", responses=documented(*OF_ANY))
async def models(request: Request) -> ModelsResponse:
    """The model that is served."""
    compressor = service_of(request).compressor
    devices = [str(scorer.device) for scorer in compressor.engine.scorers]
    model = ModelBody(id=compressor.model_name, window_size=compressor.window_size, devices=devices)
    return ModelsResponse(data=[model])


@open_router.get("/health")
async def health() -> dict[str, str]:
    """Whether the process lives."""
    return {"status": "ok"}


@open_router.get("/ready", responses=documented(503))
async def ready(request: Request) -> dict[str, str]:
    """Whether it takes requests."""
    if not service_of(request).ready:
        raise ServiceError("the service is shutting down")
    return {"status": "ready"}


@router.get("/metrics", response_class=PlainTextResponse, responses=documented(*OF_ANY))
async def metrics(request: Request) -> Response:
    """Figures in Prometheus' text format."""
    return Response(service_of(request).metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def checked_count(service: Service, texts: list[str], *, exactly: bool = False) -> int:
    """Tokens of all texts, where the number matters: a text has at most as many as bytes.

    Raises:
        LimitError: more documents or tokens than the service takes.
    """
    most = service.settings
    if len(texts) > most.max_documents:
        raise LimitError(f"a request may have {most.max_documents:,} documents, got {len(texts):,}; send fewer at once")
    if not exactly and sum(len(text) * (1 if text.isascii() else 4) for text in texts) <= most.max_tokens:
        return 0
    number = sum(map(service.compressor.count_tokens, texts))
    if number > most.max_tokens:
        raise LimitError(f"a request may have {most.max_tokens:,} tokens, got {number:,}; send less text at once")
    return number


def _report(service: Service, results: list[Compression], seconds: float) -> dict[str, Any]:
    read, kept = (sum(getattr(result, name) for result in results) for name in ("input_tokens", "kept_tokens"))
    service.metrics.texts(read, kept)
    return {
        "model": service.compressor.model_name,
        "results": [result.to_dict() for result in results],
        "input_tokens": read,
        "kept_tokens": kept,
        "ratio": kept / read if read else 0.0,
        "seconds": seconds,
    }


def _spans(service: Service, body: CompressRequest, instruction: Instruction) -> Iterator[Span]:
    """Checks what can be checked, and tokenises."""
    (text,) = body.texts()
    checked_count(service, [text])
    return service.compressor.stream(text, body.query or "", instruction, threshold=body.threshold)


def _spans_as_found(service: Service, text: str, spans: Iterator[Span], emit: Emit) -> None:
    compressor, began = service.compressor, time.perf_counter()
    kept = []
    for found in spans:
        kept.append((found.start, found.end))
        emit(("span", asdict(found)))
    read, left = compressor.count_tokens(text), compressor.count_tokens(join(text, kept))
    service.metrics.texts(read, left)
    totals = {"model": compressor.model_name, "spans": len(kept), "input_tokens": read, "kept_tokens": left}
    emit(("done", {**totals, "ratio": left / read if read else 0.0, "seconds": time.perf_counter() - began}))
