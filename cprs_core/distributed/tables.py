"""Batches of Ray Data as tables of Arrow, and what is in their columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


def check_columns(where: str, names: Sequence[str], needed: Sequence[str], new: Sequence[str]) -> None:
    """Refuses rows that lack a column, or have one of a name that is to be added.

    Raises:
        InputError: says which, and which there are.
    """
    for name in needed:
        if name not in names:
            raise InputError(f"{where} has no column {name!r}; it has {', '.join(map(repr, names)) or 'none'}")
    if taken := [name for name in new if name in names]:
        raise InputError(f"{where} has a column {taken[0]!r} already, as compressed rows have; rename or drop it")


def as_table(batch: Any) -> pa.Table:
    """A table, a frame of pandas, or columns by name, as a table."""
    import pyarrow as pa

    if isinstance(batch, pa.Table):
        return batch
    if hasattr(batch, "itertuples"):  # a frame of pandas
        return pa.Table.from_pandas(batch, preserve_index=False)
    from ray.data.block import BlockAccessor

    return BlockAccessor.batch_to_arrow_block(batch)


def strings(table: pa.Table, name: str) -> list[Any]:
    """The values of a column; what is not UTF-8 is an InputError."""
    column = table.column(name)
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        values = [_value(scalar, name) for scalar in column]
    return [_decoded(value, name) if isinstance(value, bytes) else value for value in values]


def _value(scalar: Any, name: str) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return _not_utf8(name, error)


def _decoded(value: bytes, name: str) -> str | InputError:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        return _not_utf8(name, error)


def _not_utf8(name: str, error: UnicodeDecodeError) -> InputError:
    return InputError(f"the {name} is not UTF-8 (byte {error.start})")
