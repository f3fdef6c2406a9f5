"""For the reference: names in docstrings as code, where Sphinx would have its roles (``:class:`~a.b.Name```)."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":(?:class|meth|func|mod|attr|data|exc):`(~?)([^`]+)`")


class Roles(Extension):
    """Rewrites the docstring of every object that is read."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """A leading ``~`` leaves the last part of a name, as in Sphinx; a leading dot is of no use to readers."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(_code, obj.docstring.value)


def _code(role: re.Match[str]) -> str:
    name = role[2].lstrip("~.")
    return f"`{name.rpartition('.')[2] if role[1] else name}`"
