"""A batch of rows in, the same rows with their compressions out: a stage for any pipeline of Ray Data.

>>> from ray.data import ActorPoolStrategy  # doctest: +SKIP
>>> dataset.map_batches(  # doctest: +SKIP
...     BatchCompressor,
...     fn_constructor_kwargs={"query": "Who owns it?", "max_tokens": 200},
...     compute=ActorPoolStrategy(size=4),
...     num_gpus=1,
... )
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..adapters import parse_instruction
from ..budget import check_budget
from ..errors import CprsError, InputError, LimitError, MissingExtraError
from ..instruction import Instruction, check_text
from ..models import DEFAULT_MODEL
from . import columns
from .tables import as_table, check_columns, strings

if TYPE_CHECKING:
    import pyarrow as pa

    from ..compressor import ContextCompressor
    from ..result import Compression

_LOADING = ("device", "dtype", "window_size", "batch_tokens")


@dataclass(frozen=True)
class BatchCompressor:
    """Compresses the rows of a batch, each for itself, together. Loads its model in the process that uses it, at first use.

    Of every row all columns stay, and there are added ``cprs_text``, ``cprs_spans`` (start, end, score and tag of each, in
    characters of the text before), ``cprs_input_tokens``, ``cprs_kept_tokens`` and ``cprs_error``: why the row could not be
    compressed. It is null for all other rows, and the others are null where it is not.

    Args:
        query: what is asked of all texts; or
        query_column: the column with the question of each.
        text_column: the column of the texts.
        instruction: what to keep: the name of a preset, or plain words; None = whole sentences.
        max_tokens, ratio, threshold: how much of each row, as in :meth:`~cprs_core.ContextCompressor.compress`.
        max_chars: texts with more characters are not compressed.
        model, device, dtype, window_size, batch_tokens, skim: see
            :meth:`~cprs_core.ContextCompressor.from_pretrained`.
        threads: of torch in the process; None = torch's own choice.
        load: gives the compressor, instead of the options about the model.

    Raises:
        InputError: no query or two, or options that cannot be used. BudgetError: a budget that cannot be met.
    """

    query: str | None = None
    query_column: str | None = None
    text_column: str = "text"
    instruction: str | Instruction | None = None
    max_tokens: int | None = None
    ratio: float | None = None
    threshold: float | None = None
    max_chars: int | None = None
    model: str = DEFAULT_MODEL
    device: str | None = None
    dtype: str | None = None
    window_size: int | None = None
    batch_tokens: int | None = None
    skim: bool = True
    threads: int | None = None
    load: Callable[[], ContextCompressor] | None = None

    def __post_init__(self) -> None:
        if (self.query is None) == (self.query_column is None):
            raise InputError("give either one query for all rows, or the query column that has one for each")
        if self.query_column == self.text_column:
            raise InputError(f"the column {self.text_column!r} cannot be both text and query; name two columns")
        if self.query is not None:
            self.wanted.render(self.query)
        check_budget(self.max_tokens, self.ratio, self.threshold)
        for name in ("max_chars", "threads"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise InputError(f"{name} must be a whole number from 1 on, got {value!r}")
        given = [name for name in _LOADING if getattr(self, name) is not None]
        if self.load is not None and (given or self.model != DEFAULT_MODEL):
            raise InputError(f"load gives a compressor that is loaded; leave out {', '.join(given) or 'model'}, or load")

    @cached_property
    def wanted(self) -> Instruction:
        """The instruction."""
        return parse_instruction(self.instruction)

    @property
    def needed(self) -> list[str]:
        """The columns that are read."""
        return [self.text_column] + ([self.query_column] if self.query_column is not None else [])

    @cached_property
    def compressor(self) -> ContextCompressor:
        """The compressor of this process.

        Raises:
            ModelLoadError, DeviceError: see :meth:`~cprs_core.ContextCompressor.from_pretrained`.
        """
        import torch

        from ..compressor import ContextCompressor

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if self.load is not None:
            return self.load()
        options = {name: getattr(self, name) for name in _LOADING}
        return ContextCompressor.from_pretrained(self.model, skim=self.skim, **options)

    def settings(self) -> dict[str, Any]:
        """What its results depend on; JSON-ready."""
        wanted = self.wanted
        names = ("query", "query_column", "text_column", "max_tokens", "ratio", "threshold", "max_chars", "model", *_LOADING)
        return {
            **{name: getattr(self, name) for name in names},
            "skim": self.skim,
            "instruction": {"prompt": wanted.prompt, "tags": list(wanted.tags), "unit": wanted.unit},
        }

    def __call__(self, batch: Any) -> pa.Table:
        """A batch of Ray Data (a table of Arrow, a frame of pandas, or columns by name) with the columns added.

        Raises:
            InputError: a column is missing, or the batch has columns of these names already.
        """
        try:
            import pyarrow as pa
        except ImportError as error:
            raise MissingExtraError("pyarrow", "ray") from error
        table = as_table(batch)
        check_columns("the batch", table.column_names, self.needed, columns.RESULTS)
        outcomes = self.outcomes(table)
        span = pa.struct({"start": pa.int64(), "end": pa.int64(), "score": pa.float64(), "tag": pa.string()})
        added: list[tuple[str, pa.DataType, Callable[[Compression], Any]]] = [
            (columns.TEXT, pa.string(), lambda done: done.text),
            (columns.SPANS, pa.list_(span), _spans),
            (columns.INPUT_TOKENS, pa.int64(), lambda done: done.input_tokens),
            (columns.KEPT_TOKENS, pa.int64(), lambda done: done.kept_tokens),
        ]
        for name, kind, value in added:
            values = [None if isinstance(outcome, CprsError) else value(outcome) for outcome in outcomes]
            table = table.append_column(pa.field(name, kind), pa.array(values, kind))
        errors = [f"{type(found).__name__}: {found}" if isinstance(found, CprsError) else None for found in outcomes]
        return table.append_column(columns.ERROR, pa.array(errors, pa.string()))

    def outcomes(self, table: pa.Table) -> list[Compression | CprsError]:
        """What became of every row: its compression, or why there is none."""
        texts = strings(table, self.text_column)
        queries: list[Any] = [self.query] * len(texts)
        if self.query_column is not None:
            queries = strings(table, self.query_column)
        outcomes: list[Any] = [self._checked(text, query) for text, query in zip(texts, queries, strict=True)]
        good = [i for i, outcome in enumerate(outcomes) if not isinstance(outcome, CprsError)]
        done = self._compressed([(texts[i], queries[i]) for i in good])
        for i, outcome in zip(good, done, strict=True):
            outcomes[i] = outcome
        return outcomes

    def _checked(self, text: Any, query: Any) -> CprsError | None:
        """What is wrong with a row, as far as it takes no model to say so."""
        try:
            for name, value in ((self.text_column, text), (self.query_column or "query", query)):
                if isinstance(value, CprsError):
                    return value
                if value is None:
                    raise InputError(f"there is no {name}")
                check_text(name, value)
            if self.max_chars is not None and len(text) > self.max_chars:
                raise LimitError(f"the text has {len(text):,} characters, and may have {self.max_chars:,}; split it")
            self.wanted.render(query)
        except CprsError as error:
            return error
        return None

    def _compressed(self, pairs: Sequence[tuple[str, str]]) -> Sequence[Compression | CprsError]:
        """All together; if that fails, in halves, down to the row that is to blame."""
        compressor = self.compressor
        limits: dict[str, Any] = {"max_tokens": self.max_tokens, "ratio": self.ratio, "threshold": self.threshold}
        try:
            return compressor.compress_batch(pairs, self.wanted, **limits) if pairs else []
        except CprsError as error:
            if len(pairs) == 1:
                return [error]
        half = len(pairs) // 2
        return [*self._compressed(pairs[:half]), *self._compressed(pairs[half:])]


def _spans(result: Compression) -> list[dict[str, Any]]:
    return [{"start": s.start, "end": s.end, "score": s.score, "tag": s.tag} for s in result.spans]
