"""``cprs proxy``: an LLM provider's own interface, with long messages compressed on their way to it.

Reading order: ``settings`` and ``request`` (what may be chosen), then ``cprs_core.chat`` (which messages are compressed, and
how), ``wire`` (headers and errors), ``relay`` (bodies), ``app`` (the HTTP side), ``command``.
"""
