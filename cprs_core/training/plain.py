"""Tasks that any plain text gives, unlabelled as it is: find what has a certain form, and find the sentence that a few
keywords are from."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from ..instruction import Instruction
from ..segments import segment
from .tasks import Task

_MONTH = (
    r"(?:Jan(?:uary|\.)?|Feb(?:ruary|\.)?|Mar(?:ch|\.)?|Apr(?:il|\.)?|May|June?|July?|Aug(?:ust|\.)?|Sept?(?:ember|\.)?"
    r"|Oct(?:ober|\.)?|Nov(?:ember|\.)?|Dec(?:ember|\.)?)"
)
_FORMS: dict[str, str] = {
    "dates": rf"\b(?:\d{{1,2}}(?:st|nd|rd|th)? (?:of )?)?{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?(?:, \d{{4}})?\b"
    rf"|\b(?:\d{{1,2}}(?:st|nd|rd|th)? (?:of )?)?{_MONTH},? \d{{4}}\b|\b\d{{1,2}}(?:st|nd|rd|th)? (?:of )?{_MONTH}\b"
    r"|\b\d{4}-\d\d-\d\d\b|\b\d{1,2}/\d{1,2}/\d{2,4}\b",
    "years": r"(?<![\d,.$£€-])\b(?:1[0-9]|20)\d\d\b(?![,.]\d|-)",
    "numbers": r"(?<![\w.,:=/-])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?![\w:/-]|[.,]\d)",
    "percentages": r"(?<![\w.])\d+(?:\.\d+)? ?(?:%|percent\b|per cent\b)",
    "amounts of money": r"(?:US)?[$£€] ?\d+(?:,\d{3})*(?:\.\d+)?(?: (?:thousand|million|billion|trillion)\b)?"
    r"|\b\d+(?:,\d{3})*(?:\.\d+)? (?:dollars|pounds|euros|cents|shillings|francs|roubles)\b",
    "quotations": r"“[^”\n]{2,300}”|(?<![\w\"])\"[^\"\n]{2,300}\"(?!\w)",
    "acronyms": r"\b[A-Z]{2,6}s?\b(?!['’.]?\w)",
    "times of day": r"\b\d{1,2}:\d\d(?: ?(?:[ap]\.m\.|[ap]m\b))?|\b\d{1,2} ?(?:[ap]\.m\.|[ap]m\b|o['’]clock)",
    "email addresses": r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b",
    "links": r"https?://[^\s<>\"')\]]*[\w/]",
}
FORMS = {name: re.compile(form) for name, form in _FORMS.items()}
"""What can be told by its form alone."""

_ASKING = (
    "Extract the {}.",
    "List all {}.",
    "Find all mentions of the {}.",
    "List the {} mentioned in the text.",
    "Keep the {}.",
)
_ASKING_SENTENCES = (
    "Keep the sentences with {}.",
    "Which sentences give {}?",
    "Extract every sentence that mentions {}.",
    "Keep the {}, with the sentences around them.",
)


def by_form(rng: random.Random, text: str) -> Task | None:
    """All dates (numbers, links ...) of the text, or the whole sentences that hold them. None if there are none."""
    names = [name for name in rng.sample(list(FORMS), 4) if FORMS[name].search(text)]
    if not names:
        return None
    name = names[0]
    spans = [match.span() for match in FORMS[name].finditer(text)]
    if rng.random() < 0.7:
        instruction = Instruction.entities(name) if rng.random() < 0.5 else None
        return Task(rng.choice(_ASKING).format(name), text, [(*span, 0) for span in spans], "entities", instruction)
    units = segment(text, "sentence").tolist()
    spans = [(start, end) for start, end in units if any(s < end and e > start for s, e in spans)]
    return Task(rng.choice(_ASKING_SENTENCES).format(name), text, [(*span, 0) for span in spans], "sentences")


def by_keywords(rng: random.Random, text: str, frequent: Sequence[str] | frozenset[str] = frozenset()) -> Task | None:
    """A few words of one sentence as the query; every sentence that holds them all matters. None if no sentence has
    enough words that are not ``frequent``."""
    units = segment(text, "sentence").tolist()
    long_enough = [(start, end) for start, end in units if 40 <= end - start <= 400]
    for start, end in rng.sample(long_enough, min(4, len(long_enough))):
        words = list(dict.fromkeys(re.findall(r"\w[\w'-]{3,}", text[start:end])))
        rare = [word for word in words if word.lower() not in frequent]
        if len(rare) < 3:
            continue
        chosen = rng.sample(rare, rng.randint(3, min(6, len(rare))))
        if rng.random() < 0.6:
            chosen.sort(key=words.index)
        holds = [(s, e, 0) for s, e in units if all(word in text[s:e] for word in chosen)]
        query = " ".join(chosen)
        return Task(query if rng.random() < 0.3 else query.lower(), text, holds, "sentences")
    return None
