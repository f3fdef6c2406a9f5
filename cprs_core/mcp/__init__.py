"""``cprs mcp``: compression as tools of the Model Context Protocol (extra ``mcp``).

Reading order: ``roots`` (which files may be read), ``worker`` (a model here, or a service elsewhere), ``shapes``
(what tools take and give), ``server`` (the tools), ``http`` (the server on a port), ``command``.
"""
