"""The fake compressor with a tokenizer (a token is a word), texts for it, and one that fails."""

from typing import Any

from fakes import FakeCompressor

LONG = "Nothing of this matters at all. " * 5 + "Do keep this sentence. " + "Nor does this one matter. " * 5
KEPT = "Do keep this sentence."


class WordCompressor(FakeCompressor):
    def count_tokens(self, text: str) -> int:
        return len(text.split())


class Failing(WordCompressor):
    def compress_documents(self, documents: Any, query: Any, instruction: Any = None, **limits: Any) -> Any:
        raise RuntimeError(f"cannot read {documents}")
