"""What the tools take and what they give, in the words that a client's model reads."""

from __future__ import annotations

from typing import Annotated

from mcp_types import CallToolResult
from pydantic import BaseModel, Field

from ..result import Compression

Query = Annotated[str, Field(description="What the kept passages should help to answer: a question in full words.")]
What = Annotated[
    str | None,
    Field(
        description="What to keep, in plain words, or one of: sentences (default), answer, paragraphs, entities:KIND (such "
        "as entities:dates), needles, chains, code."
    ),
]
MaxTokens = Annotated[
    int | None, Field(description="Keep at most so many tokens, the best first. Without a budget the model decides.")
]
Ratio = Annotated[float | None, Field(description="Or: keep at most this share of the tokens, over 0 and up to 1.")]
Threshold = Annotated[float | None, Field(description="Keep what scores at least this much, over 0 and up to 1.")]


class KeptSpan(BaseModel):
    """A passage that was kept, by its place in the text: characters (code points), end exclusive."""

    start: int
    end: int
    score: float = Field(description="How sure the model is that it matters, 0 to 1.")
    tag: str


class Kept(BaseModel):
    """What is left of a text."""

    text: str = Field(description="The kept passages, word for word, in reading order; one space or line break for a gap.")
    spans: list[KeptSpan]
    input_tokens: int
    kept_tokens: int
    model: str
    source: str | None = Field(default=None, description="The file or URL that the text is from.")

    @classmethod
    def of(cls, result: Compression, source: str | None) -> Kept:
        """A compression without the words of its spans, which are in its text: a model pays for each word."""
        return cls(
            text=result.text,
            spans=[KeptSpan(start=span.start, end=span.end, score=span.score, tag=span.tag) for span in result.spans],
            input_tokens=result.input_tokens,
            kept_tokens=result.kept_tokens,
            model=result.model,
            source=source,
        )


Result = Annotated[CallToolResult, Kept]
