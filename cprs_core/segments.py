"""Units of text: words, sentences, lines and paragraphs, as character offsets.

    >>> text = "Dr. Who paid $3.50. Why?"
    >>> [text[start:end] for start, end in segment(text, "sentence")]
    ['Dr. Who paid $3.50.', 'Why?']

Rules only, no model: what a stop means is read off the characters around it, what a newline means off the shape of
its paragraph. It does not know that a sentence ended where no stop, newline or blank line shows it (Thai prose, chats
without punctuation), nor that a code block without fences is code.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate, chain, pairwise
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import regex

from cprs_core.errors import InputError

Unit = Literal["word", "sentence", "line", "paragraph"]


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Words. Every alternative takes whole grapheme clusters (\X): a simple character may be taken on its own only where
# nothing that extends it follows. Scripts without spaces give one cluster a unit.
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー々〆]"
_SPACE = r"[\s\x1c-\x1f]"  # as str.isspace
_EXTENDS = r"[\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}]"
_LETTER = rf"[[\p{{L}}\p{{N}}\p{{Pc}}]--{_UNSPACED}]"
_LETTERS = rf"(?:[{_LETTER}&&\p{{GCB=Other}}]+(?!{_EXTENDS})|(?={_LETTER})\X(?<!{_SPACE}))++"
_WORD = regex.compile(
    rf"""(?V1x)
    # a URL, less the punctuation after it
      (?:[A-Za-z][A-Za-z\d+.\-]{{1,20}}://|www\.)
        [[^{_SPACE}<>"“”‘’|{{}}`\\^]--{_UNSPACED}]*[[{_LETTER}&&\p{{GCB=Other}}]/&=\#](?!{_EXTENDS})
    # a word with what begins a path or a number: don't, a-b, ../x.py, me@site.org, -$1,000.50, 3%
    | (?:(?<![\w<])(?:(?:~|\.\.?|[A-Za-z]:)?[/\\]|[-+−]?\p{{Sc}}?(?=\p{{Nd}}))|\p{{Sc}}(?=\p{{Nd}}))?
        {_LETTERS}
        (?:(?:[.'’\-‐‑/\\@&·]|(?<=\p{{Nd}})[,:](?=\p{{Nd}}))(?={_LETTER}){_LETTERS})*+
        (?:(?<=\p{{Nd}})%(?!{_EXTENDS}))?
    # a run of one punctuation character
    | ([!-/:-@\[-`{{-~–—…])\1*(?!{_EXTENDS})
    # a flag: \X alone would be quadratic in a run of them
    | \p{{RI}}{{1,2}}+(?!{_EXTENDS})
    # any other cluster
    | (?!{_SPACE})(?:\X(?<!{_SPACE})|.)
    """,
    regex.DOTALL,
)

# Sentences. A candidate is a run of stops with the closing quotes, brackets and citations after it.
_CLOSE = r"""(?:["'”’»›)\]}*_」』）】》〉]|\[\d[\d,–\- ]{0,12}\]|[ ](?:[”»)\]]|'')(?=\s|\Z)|[ ]"(?=\s*\Z))*+"""
_OPEN = r"""["'“‘«‹(\[{*_¿¡—–\-]*+"""
_STOP = regex.compile(
    rf"""(?x)
    # these need white space after them
      (?<![.!?…])(?P<stop>[.!?…‼⁇⁈⁉؟۔։]++)(?P<close>{_CLOSE})
        (?=\s+(?![.!?…)\]”’»,;]){_OPEN}(?P<next>\w++)? | \s*\Z | (?<=[!?]){_UNSPACED})
    # these do not
    | (?:[。！？｡।॥።។။]|．(?!\p{{N}}))[。！？｡．।॥!?]*+{_CLOSE}(?!(?<=[」』”])(?:と|って))
    """
)
# Never the end of a sentence; not the end before a number; the end only before a word that often opens a sentence.
_TITLES = _words(
    "mr mrs ms messrs mme mlle dr drs prof rev hon gen col lt sgt capt cmdr adm maj gov sen rep pres supt fr mt ft sta"
    " e.g i.e eg ie cf viz vs v approx ca esp incl resp fig figs eq eqs"
)
_BEFORE_NUMBER = _words(
    "no nos p pp vol vols ch sec art sect para ver op tab ref refs al c b d r lit"
    " jan feb mar apr jun jul aug sep sept oct nov dec"
)
_OFTEN_INSIDE = _words(
    "st ave blvd rd inc ltd co corp bros llc plc jr sr esq dept univ assn est ed eds trans vol nos pp ch sec op"
    " jan feb aug sept oct nov dec var ae"
)
_OPENERS = _words(
    "The This That These Those There Here It Its He His She Her They Their We Our You Your I My A An All Both Each Most"
    " Many Some Such One In On At As After Before Although But And Or So If When While Since For From By To With During"
    " Under However Because Despite Then Thus Now Once Later Also Finally Moreover Furthermore What Why How Who Where"
)
_ACRONYM = regex.compile(r"[\p{Lu}a-z]|[ivx]{2,4}|(?:\p{L}{1,3}\.)+\p{L}{1,3}|\w+-(?:\p{L}\.)+\p{L}")
_MARKER = regex.compile(r"[(\[]?(?:\d{1,3}(?:\.\d{1,3})*|\p{L}|[ivxIVX]{1,5})[)\]]?")

# Lines that begin like these are not the continuation of the line before.
_STRUCTURE = regex.compile(
    r"""(?x)\s*+(?: [-*+•◦▪‣·–]\s | \(?(?:\d{1,3}|\p{L}|[ivx]{1,5})\)\s | \d{1,3}\.\s | \#{1,6}\s | [|>{}\[\]<@]|//|```|~~~
    | [-=~^*_+]{3,} | "[^"]{1,60}"\s*: | \d{1,4}[-/:.]\d\d?[-/:.]\d )"""
)
# A table or code: each way begins with a character that is rare in prose, so that most lines are passed over fast.
_ODD = regex.compile(r"\||\t(?<=\S\t)\s*+\S|=(?:(?<=\s=)(?=\s)|$)|[({\[}\\]$|\((?<=\w\()(?!s\))[^()]*\)[:;,]?$")
_COLUMNS = regex.compile(r"\S   \s*+\S")
_KEYWORD = regex.compile(r"\s*+(?:def|return|elif|>>>)\s")
# Lines that are read as one: of a log, of JSON, of a table of comma-separated values.
_RECORD = regex.compile(
    r"""(?x)\s*+(?: [\[(<]?(?:\d{4}[-/]\d\d[-/]\d\d[T\s]|[A-Z][a-z]{2}\s[\s\d]\d\s)?\d\d:\d\d:\d\d
    | \[?(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\b[\]:\s]
    | "[^"\n]{1,60}"\s*: | [{\[]++"[^"\n]{1,60}"\s*[:,]
    | (?:"[^"\n]*"|[^".!?,\n]{0,40})(?:,(?:"[^"\n]*"|(?!\s)[^".!?,\n]{0,40})){2} )"""
)
_LABEL = regex.compile(r"\s*+[\p{Lu}#][\w.#'’\-]*+(?:\s[\w.#'’\-]++){0,3}\s?:\s")  # a speaker, or a key


_CLAUSE = regex.compile(r"[,;:]\s+|[，；：、]|\n")

_SHORT = 4_000  # characters of a text in which giving up the GIL for every match takes longer than the matches


def segment(text: str, unit: Unit, *, concurrent: bool | None = None) -> npt.NDArray[np.int64]:
    """Cut a text into units.

    Args:
        text: any string.
        unit: "word", "sentence", "line" or "paragraph".
        concurrent: whether other threads may run in the meantime; None = if the text is not short.

    Returns:
        int64 [n, 2]: start and end of each unit, in characters; in order, disjoint, without white space at either
        end. Each character that is not white space lies in exactly one unit.

    Raises:
        InputError: the unit is none of the four.
    """
    return array(find_units(text, unit, concurrent))


def find_units(text: str, unit: Unit, concurrent: bool | None = None) -> Iterator[tuple[int, int]]:
    """What :func:`segment` finds, one after the other."""
    if concurrent is None:
        concurrent = len(text) > _SHORT
    if unit == "word":
        return (match.span() for match in _WORD.finditer(text, concurrent=concurrent))
    if unit == "sentence":
        return _between(text, _sentence_cuts(text, concurrent))
    if unit == "line":
        return _between(text, accumulate(map(len, text.splitlines(keepends=True))))
    if unit == "paragraph":
        return _between(text, (end for _, _, end in _paragraphs(text)))
    raise InputError(f"There is no unit {unit!r}. Use one of: {', '.join(get_args(Unit))}.")


def array(spans: Iterable[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """Spans as int64 [n, 2]."""
    return np.fromiter(chain.from_iterable(spans), np.int64).reshape(-1, 2)


def subdivide(text: str, units: npt.NDArray[np.int64], smaller: Literal["clause", "word"]) -> npt.NDArray[np.int64]:
    """The clauses (pieces up to a comma, a semicolon, a colon or a line's end) or the words of some units int64 [n, 2]."""
    pieces = []
    for start, end in units.tolist():
        part = text[start:end]
        cuts = (match.end() for match in _CLAUSE.finditer(part))
        pieces.append((segment(part, "word") if smaller == "word" else array(_between(part, cuts))) + start)
    return np.concatenate([np.empty((0, 2), np.int64), *pieces])


def _between(text: str, cuts: Iterator[int]) -> Iterator[tuple[int, int]]:
    """The pieces of ``text`` between ascending cuts, trimmed, less the empty ones."""
    for start, end in pairwise(chain((0,), cuts, (len(text),))):
        piece = text[start:end].lstrip()
        if piece:
            yield end - len(piece), end - len(piece) + len(piece.rstrip())


def _paragraphs(text: str) -> Iterator[tuple[list[str], int, int]]:
    """Each run of lines that are not blank: the lines with their ends, and where it starts and ends."""
    lines: list[str] = []
    start = end = 0
    for line in text.splitlines(keepends=True):
        if lines and (line.isspace() or lines[-1].endswith("\u2029")):
            yield lines, start, end
            lines, start = [], end
        end += len(line)
        if line.isspace():
            start = end
        else:
            lines.append(line)
    if lines:
        yield lines, start, end


def _sentence_cuts(text: str, concurrent: bool) -> Iterator[int]:
    fenced = False
    for lines, start, stop in _paragraphs(text):
        fences = text.find("```", start, stop) >= 0 or text.find("~~~", start, stop) >= 0
        block = end = start  # a block: lines that soft breaks join
        for line, soft in zip(lines, _soft_breaks(lines), strict=True):
            underlines = fences and line.startswith("~~~~") and end > start and not fenced  # a heading
            end += len(line)
            fence = fences and line.lstrip().startswith(("```", "~~~")) and line.count("```") < 2 and not underlines
            whole = len(line) < 1000 and bool(
                fence or fenced or line.count("|") > 1 or _RECORD.match(line, concurrent=concurrent)
            )
            fenced ^= fence
            if soft and not whole:
                continue
            if not whole:
                yield from _stops(text, block, end, concurrent)
            yield end
            block = end


def _soft_breaks(lines: list[str]) -> list[bool]:
    """Whether each line of a paragraph was broken only because the next word no longer fitted.

    That is so in hard-wrapped prose alone: elsewhere (lists, tables, chats, code) some lines end with room to spare.
    """
    hard = [False] * len(lines)
    lines = [line.rstrip() for line in lines]
    width = max(map(len, lines))
    if len(lines) == 1 or not 40 < width <= 120:
        return hard
    words = [line.split() for line in lines]
    if len(lines) > 3 and 2 * len({first for first, *_ in words}) < len(lines):
        return hard  # a log or a list: most lines begin alike
    labelled = _LABEL.match(lines[0])
    odd = [_is_odd(line) for line in lines]
    soft, roomy = [], 0
    for i, (line, following) in enumerate(pairwise(lines)):
        starts_anew = line.startswith("#") or _RECORD.match(line) or _STRUCTURE.match(following)
        starts_anew = starts_anew or (labelled and _LABEL.match(following))
        if odd[i] or odd[i + 1] or starts_anew:
            soft.append(False)
            continue
        word = words[i + 1][0]
        # The column is seldom exact: texts were edited after they were wrapped.
        full = len(words[i]) > 3 and len(line) + 1 + min(len(word), 25) > 0.9 * width
        if len(lines) == 2 and width < 60:
            full = full and word[0].islower()  # a single short line break shows little
        soft.append(full)
        roomy += not full
    return hard if 4 * roomy > len(soft) else [*soft, False]


def _is_odd(line: str) -> bool:
    """Whether a line is of a table or of code."""
    return bool(_ODD.search(line) or ("   " in line and _COLUMNS.search(line)) or _KEYWORD.match(line))


def _stops(text: str, start: int, end: int, concurrent: bool) -> Iterator[int]:
    """Where sentences end within ``text[start:end]``."""
    for match in _STOP.finditer(text, start, end, concurrent=concurrent):
        if match["stop"] is None or _ends_sentence(text, start, match, concurrent):
            start = match.end()
            yield start


def _ends_sentence(text: str, start: int, match: regex.Match[str], concurrent: bool) -> bool:
    stop, following = match["stop"], match["next"] or ""
    after = text[match.end("next") : match.end("next") + 1] if following else ""
    may_open = following[1:2].isupper() or (len(following) < 5 and after == ")")  # "iPhone", "(a)"
    if following[:1].islower() and not may_open:
        return stop[-1] in "!?" and not match["close"]
    if stop != "." or match["close"].strip(")]") or text[match.start() - 1 : match.start()].isspace():
        return True
    before = text[max(start, match.start() - 24) : match.start()]
    if _MARKER.fullmatch(before.lstrip(), concurrent=concurrent):
        return False  # "1." or "(a)" opens the sentence
    word = before.split()[-1].lstrip("([{\"'“‘«—–-") if before else ""
    lower = word.lower()
    if lower in _TITLES or (following[:1].isdigit() and lower in _BEFORE_NUMBER):
        return False
    if lower in _OFTEN_INSIDE or _ACRONYM.fullmatch(word, concurrent=concurrent):
        return following in _OPENERS and after != "."  # "J. A. Smith"
    return True
