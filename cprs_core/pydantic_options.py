"""The options that all adapters have in common, as a model of pydantic, which the frameworks bring along."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Any, Self, TypedDict

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic.json_schema import SkipJsonSchema

from . import adapters
from .adapters import Compressor
from .instruction import Instruction
from .models import DEFAULT_MODEL


def _name(value: Any) -> Any:
    """Folders as plain strings, so that options stay JSON-ready."""
    return str(value) if isinstance(value, PurePath) else value


class CompressorOptions(BaseModel):
    """Which compressor, and what it keeps.

    Args:
        model: ``"cprs-small"``, a local folder or a Hugging Face id. Loaded on first use and shared in the process.
        device, dtype, window_size, overlap, batch_tokens, skim: see :meth:`cprs_core.ContextCompressor.from_pretrained`.
        instruction: the name of a preset (``"sentences"``, ``"answer"``, ``"entities:KIND"``, ...), or what to keep in
            plain words, or an :class:`~cprs_core.Instruction` with tags of your own; None = sentences.
        max_tokens, ratio: a budget, in tokens or as a share; never exceeded.
        threshold: keep what scores at least this much. None of the three: the model decides.
        compressor: one that is loaded already, instead of ``model`` and how to load it. Serialisation leaves it out.
        url: a service started with ``cprs serve``, instead of a model in this process.
        api_key: for the service; None = the environment variable ``CPRS_API_KEY``. Serialisation leaves it out.

    Raises:
        pydantic.ValidationError: an unknown option, one out of range, or two that contradict each other.
    """

    model: Annotated[str, BeforeValidator(_name)] = DEFAULT_MODEL
    device: str | None = None
    dtype: str | None = None
    window_size: int | None = Field(default=None, ge=64)
    overlap: int | None = Field(default=None, ge=0)
    batch_tokens: int | None = Field(default=None, ge=1)
    skim: bool | None = None
    instruction: str | Instruction | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    ratio: float | None = Field(default=None, gt=0, le=1)
    threshold: float | None = Field(default=None, gt=0, le=1)
    compressor: SkipJsonSchema[Compressor | None] = Field(default=None, exclude=True)
    url: str | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True)

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        self.model = adapters.check_options(self)
        return self


class Options(TypedDict, total=False):
    """The arguments of :class:`CompressorOptions`, for functions that pass them on."""

    model: str | PurePath
    device: str | None
    dtype: str | None
    window_size: int | None
    overlap: int | None
    batch_tokens: int | None
    skim: bool | None
    instruction: str | Instruction | None
    max_tokens: int | None
    ratio: float | None
    threshold: float | None
    compressor: Compressor | None
    url: str | None
    api_key: SecretStr | str | None
