"""Chats, whatever they are part of: which texts of a message are long, for which question they are compressed, and what
is sent in their place from then on. The proxy and the agents of LangChain and LlamaIndex stand on it.

Reading order: ``messages`` (which texts, which question), ``query`` (what a tool was asked), ``shorten`` (the texts of one
message), ``references`` and ``reading`` (the original of a compressed text), ``conversation`` and ``memory`` (what is
remembered), ``shrink`` (a whole conversation), ``compress`` (the same for programs that call a provider themselves),
``options`` (what users of agents may choose).
"""
