"""Ways to look at a compression: ``Compression.show``, ``to_html`` and ``plot``.

stretches  the text in pieces: kept, left out, and left out for long
html       a fragment for notebooks, a page of its own
terminal   in colours
plot       scores along the text (extra ``plot``)
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..result import Compression


def show(result: Compression) -> None:
    """Shows a result where the user is: in the notebook, or on standard output."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if getattr(shell, "kernel", None) is not None:
        from IPython.display import display

        display(result)
        return
    from rich.console import Console

    from .terminal import write

    write(result, Console(highlight=False))
