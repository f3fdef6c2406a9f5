"""The bodies of requests and responses. Budgets and instructions are checked by the compressor itself."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, StrictFloat, StrictInt, StrictStr, model_validator

from ..errors import InstructionError
from ..instruction import Instruction
from ..segments import Unit

Number = StrictInt | StrictFloat


class InstructionBody(BaseModel):
    """An :class:`~cprs_core.Instruction` with tags of its own."""

    model_config = ConfigDict(extra="forbid")
    prompt: StrictStr
    tags: list[StrictStr] = ["fact"]
    unit: Unit = "sentence"


class Pair(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: StrictStr
    query: StrictStr


class Wanted(BaseModel):
    """What to keep: ``instruction``, in words or in full, or the name of a ``preset``."""

    model_config = ConfigDict(extra="forbid")
    instruction: StrictStr | InstructionBody | None = None
    preset: StrictStr | None = None

    def wanted(self) -> Instruction:
        """As the compressor takes it."""
        if self.instruction is not None and self.preset is not None:
            raise InstructionError("instruction and preset both say what to keep; give one of them")
        if self.preset is not None:
            return Instruction.preset(self.preset)
        if isinstance(self.instruction, InstructionBody):
            return Instruction(self.instruction.prompt, tuple(self.instruction.tags), self.instruction.unit)
        return Instruction.of(self.instruction)


class CompressRequest(Wanted):
    """One ``text`` or some ``documents`` (one budget for all of them) with a ``query``, or ``pairs`` (a budget for each).
    What to keep: ``instruction``, in words or in full, or the name of a ``preset``. ``stream``: server-sent events, for one
    text and without a budget."""

    text: StrictStr | None = None
    documents: list[StrictStr] | None = None
    pairs: list[Pair] | None = None
    query: StrictStr | None = None
    max_tokens: StrictInt | None = None
    ratio: Number | None = None
    threshold: Number | None = None
    stream: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> CompressRequest:
        if sum(value is not None for value in (self.text, self.documents, self.pairs)) != 1:
            raise ValueError("give one of text, documents and pairs")
        if (self.query is None) != (self.pairs is not None):
            raise ValueError("give a query; with pairs, one in each of them and none beside")
        if self.stream and (self.text is None or self.max_tokens is not None or self.ratio is not None):
            raise ValueError("a stream is of one text, and takes a threshold but no max_tokens and no ratio")
        return self

    def texts(self) -> list[str]:
        """All texts to be read."""
        if self.text is not None:
            return [self.text]
        return self.documents or [pair.text for pair in self.pairs or []]

    def limits(self) -> dict[str, Any]:
        """How much to keep."""
        return {"max_tokens": self.max_tokens, "ratio": self.ratio, "threshold": self.threshold}


class SpanBody(BaseModel):
    start: int
    end: int
    text: str
    score: float
    tag: str


class CompressionBody(BaseModel):
    model: str
    query: str
    instruction: str
    input_tokens: int
    kept_tokens: int
    ratio: float
    seconds: float
    text: str
    spans: list[SpanBody]


class CompressResponse(BaseModel):
    """One result a text, in order, and totals."""

    model: str
    results: list[CompressionBody]
    input_tokens: int
    kept_tokens: int
    ratio: float
    seconds: float


class ScoresRequest(Wanted):
    """One text and a query. ``max_tokens``: a budget that the scores are for, see ``skimmed_to``. ``cuts``: also the clauses
    and words that small budgets choose from. ``stream``: server-sent events ``progress``, then ``done`` with the answer."""

    text: StrictStr
    query: StrictStr
    max_tokens: StrictInt | None = None
    threshold: Number | None = None
    cuts: bool = False
    stream: bool = False


class Pieces(BaseModel):
    """Disjoint pieces of the text in reading order, by column: characters, score, number of the tag, tokens."""

    starts: list[int]
    ends: list[int]
    scores: list[float]
    tags: list[int]
    tokens: list[int]


class CandidatesBody(Pieces):
    """``kept``: the model's own choice. ``whole``: marked as one piece by the model, so never joined with another such."""

    kept: list[bool]
    whole: list[bool]


class ScoresResponse(BaseModel):
    """What can be kept of a text. ``skimmed_to``: without a budget, or with one up to so many tokens, the text is skimmed;
    with a larger one all of it is read. The scores are those for the ``max_tokens`` of the request; null: for any."""

    model: str
    query: str
    instruction: str
    unit: Unit
    tags: list[str]
    input_tokens: int
    seconds: float
    skimmed_to: int | None
    candidates: CandidatesBody
    clauses: Pieces | None = None
    words: Pieces | None = None


class TextBody(BaseModel):
    text: StrictStr


class RerankRequest(BaseModel):
    """As Cohere and Jina have it; options of theirs that mean nothing here are ignored."""

    query: StrictStr
    documents: list[StrictStr | TextBody]
    top_n: StrictInt | None = None
    return_documents: bool = False
    instruction: StrictStr | None = None

    def texts(self) -> list[str]:
        return [item if isinstance(item, str) else item.text for item in self.documents]


class Ranked(BaseModel):
    index: int
    relevance_score: float
    document: TextBody | None = None


class RerankResponse(BaseModel):
    id: str
    model: str
    results: list[Ranked]
    usage: dict[Literal["total_tokens"], int]


class TokensResponse(BaseModel):
    model: str
    tokens: int


class ModelBody(BaseModel):
    id: str
    object: Literal["model"] = "model"
    window_size: int
    devices: list[str]


class ModelsResponse(BaseModel):
    """The model that is served, as OpenAI lists models."""

    object: Literal["list"] = "list"
    data: list[ModelBody]
