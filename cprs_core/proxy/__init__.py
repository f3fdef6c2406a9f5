"""``cprs proxy``: an LLM provider's own interface, with long messages compressed on their way to it.

Reading order: ``settings`` and ``request`` (what may be chosen), ``messages`` (which texts, which question),
``conversation`` (what is compressed and what is remembered), ``memory``, ``shrink`` (doing it), ``wire`` (headers and
errors), ``relay`` (bodies), ``app`` (the HTTP side), ``command``.
"""
