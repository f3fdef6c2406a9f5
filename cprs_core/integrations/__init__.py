"""Frameworks that need little: each module imports its own framework. LangChain and LlamaIndex have packages."""
