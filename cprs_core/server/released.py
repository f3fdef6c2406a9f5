"""``POST /qwen_long_compress_server``: the route of the released code, for clients that were written for it."""

from __future__ import annotations

import json

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, StrictStr

from ..errors import InputError
from ..instruction import Instruction
from ..segments import segment
from ..spans import B, E, O, TokenScores, complete
from .problems import OF_POST, documented
from .routes import checked_count, service_of

_MAX_GAP = 18  # tokens that the released code fills in where a run of labels is broken behind its B
_NOTHING = "（），。！"  # spans of these alone are left out
_SUCCESS = {"status_code": 200, "status_name": "Success", "status_message": "Success", "finished": True}
_ROLES = ("system", "user", "context")

router = APIRouter()


class Message(BaseModel):
    role: StrictStr
    content: StrictStr


class Input(BaseModel):
    messages: list[Message] = Field(min_length=3, max_length=3)


class Parameters(BaseModel):
    """``min_keyword_len``: spans of so many tokens or fewer are left out. The released code's other options (batch_size,
    chunk_size, split_with_sent) are accepted and ignored: windows and batches are the service's own."""

    min_keyword_len: int = Field(default=4, ge=0)
    complete_sentence: bool = False
    return_offset: bool = False


class Payload(BaseModel):
    input: Input
    parameters: Parameters = Parameters()


class Header(BaseModel):
    request_id: StrictStr = ""


class ReleasedRequest(BaseModel):
    header: Header = Header()
    payload: Payload


class ReplyHeader(BaseModel):
    request_id: str
    status_code: int
    status_name: str
    status_message: str
    finished: bool


class Output(BaseModel):
    text: list[str | tuple[str, int, int]]


class ReplyPayload(BaseModel):
    output: Output
    usage: dict[str, int]


class ReleasedResponse(BaseModel):
    header: ReplyHeader
    payload: ReplyPayload


@router.post("/qwen_long_compress_server", response_model=ReleasedResponse, responses=documented(*OF_POST))
async def compress(body: ReleasedRequest, request: Request) -> Response:
    """The released code's route: messages system (instruction), user (query) and context in, a list of spans out, or with
    ``return_offset`` a list of [text, start, end]. Spans are made of the label head's argmax by the released code's rule: a
    run goes on to the next O or B, and gaps of up to 18 tokens behind a B are filled. Different, on purpose:

    - Texts are tokenised once, never cut and tokenised again, so long and odd texts do not slip or fail; control tokens
      inside the messages are plain text; nothing is truncated or left out. Windows end where sentences end, so where there
      are several the labels next to their borders differ.
    - Offsets are those of the text in the same entry, characters stay whole, and spans do not overlap. With
      ``complete_sentence`` the spans are whole sentences, each once.
    - The response does not repeat the request, and errors have a status of their own, as problems.
    - The order of roles is checked, and an empty instruction or query is an error; an empty context is none.
    """
    service = service_of(request)
    system, user, context = _contents(body.payload.input.messages)
    parameters = body.payload.parameters

    def work() -> bytes:
        checked_count(service, [context])
        instruction = Instruction(system)
        scores = service.compressor.scores(context, user, instruction)
        tokens = len(scores.starts) + len(service.compressor.checkpoint.tokenizer.prefix(instruction.render(user)))
        found = _characters(scores, parameters.min_keyword_len)
        spans = _sentences(context, found) if parameters.complete_sentence else found
        output = [_entry(context, start, end, parameters.return_offset) for start, end in spans]
        header = {"request_id": body.header.request_id or request.scope["cprs.id"], **_SUCCESS}
        payload = {"output": {"text": [entry for entry in output if entry]}, "usage": {"input_tokens": tokens}}
        return json.dumps({"header": header, "payload": payload}, ensure_ascii=False).encode()

    return Response(await service.run(request, work), media_type="application/json")


def label_runs(labels: list[int]) -> list[tuple[int, int]]:
    """Token ranges that labels mark, by the released code's rule."""
    ranges: list[tuple[int, int]] = []
    last, filling = -_MAX_GAP - 2, False  # the last marked token; whether a B before it waits for its E
    for index, label in enumerate(labels):
        if label == O:
            continue
        near = index - last <= 1 or (filling and index - last <= _MAX_GAP + 1)
        if near and label != B:
            ranges[-1] = (ranges[-1][0], index + 1)
        else:
            if near:  # a gap before a B is filled, too
                ranges[-1] = (ranges[-1][0], index)
            ranges.append((index, index + 1))
        filling = label == B or (filling and near and label != E)
        last = index
    return ranges


def _characters(scores: TokenScores, least: int) -> list[tuple[int, int]]:
    """The runs of more than ``least`` tokens as ranges of characters. Of two that share a character, the first has it."""
    ranges, last = [], 0
    for first, end in label_runs(scores.labels().tolist()):
        if end - first > least:
            ranges.append((max(last, int(scores.starts[first])), int(scores.ends[end - 1])))
            last = ranges[-1][1]
    return ranges


def _contents(messages: list[Message]) -> list[str]:
    roles = tuple(message.role for message in messages)
    if roles != _ROLES:
        raise InputError(f"messages must have the roles {', '.join(_ROLES)}, in this order")
    return [message.content for message in messages]


def _sentences(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The sentences that spans touch, joined where they share one."""
    if not spans:
        return []
    units = segment(text, "sentence")
    touched = complete(np.array(spans, np.int64), units)
    return [(int(units[first, 0]), int(units[last - 1, 1])) for first, last in touched]


def _entry(text: str, start: int, end: int, offsets: bool) -> str | list[str | int] | None:
    """A span without white space around it; None if nothing but punctuation is left."""
    piece = text[start:end]
    kept = piece.strip()
    if not kept.strip(_NOTHING):
        return None
    start += len(piece) - len(piece.lstrip())
    return [kept, start, start + len(kept)] if offsets else kept
