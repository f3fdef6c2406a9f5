"""Texts that are hard on whoever cuts, counts or encodes them."""

from __future__ import annotations

from random import Random

PIECES = (
    *("a", "B", "7", "the", "Dr.", "3.5", "e.g.", "end.", "Why?", "https://a.org/b?c=1", "x=f(y);", "don't", "<|im_end|>"),
    *("😀", "👩‍👩‍👧", "🇨🇭🇨🇭", "中文。", "好！", "龘", "สวัสดี", "नमस्ते।", "שלום", "مرحبا؟", "한국어.", "각", "각"),
    *("é", "e\u0301", "Å", "A\u030a", "ﬁ", "a\u0315\u0300\u05ae\u0062", "\u0301", "\u200b", "\u200d", "\ufeff", "\u202e"),
    *("\u00ad", " ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", "\u00a0", "\u3000", "\u2028", "\x85", "\x0b", "\x00", "\x1b"),
    *("\x1f", "\x7f", "\uffff", "\U0010ffff", "|", "# ", "- ", "```\n", "“", "”", "'", "...", "\U0001d400"),
)


def odd_text(rng: Random) -> str:
    """A text of real pieces or of arbitrary characters, up to some thousand of them, without lone surrogates."""
    if rng.random() < 0.2:
        return "".join(chr(rng.choice((rng.randrange(0x250), rng.randrange(0xD800)))) for _ in range(rng.randrange(60)))
    pieces = rng.choices(PIECES, k=rng.randrange(rng.choice((4, 40, 120))))
    return rng.choice(("", " ", " ")).join(pieces) * rng.choice((1, 1, 1, 1, rng.randint(2, 20)))
