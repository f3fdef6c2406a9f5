"""How much to keep: the three options that say so, and what is wrong with them."""

from __future__ import annotations

from numbers import Integral, Real

from .errors import BudgetError


def check_budget(max_tokens: object, ratio: object, threshold: object) -> None:
    """Refuses options out of range, and two budgets at once. A threshold goes with either budget, as a floor.

    Raises:
        BudgetError: says which option, and what it may be.
    """
    if max_tokens is not None and ratio is not None:
        raise BudgetError("max_tokens and ratio are two budgets for one text; give one of them")
    if max_tokens is not None and (
        isinstance(max_tokens, bool) or not isinstance(max_tokens, Integral) or int(max_tokens) < 1
    ):
        raise BudgetError(f"max_tokens must be a whole number from 1 on, got {max_tokens!r}")
    for name, value in (("ratio", ratio), ("threshold", threshold)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Real) or value <= 0 or not value <= 1:
            raise BudgetError(f"{name} must be a number over 0 and up to 1, got {value!r}")
