"""HTML: escaped, all of the text in it, folded where it is long, and readable by everybody."""

import html
import re
from html.parser import HTMLParser

import browser as chrome
import pytest
from axe_playwright_python.sync_playwright import Axe
from fakes import compression, sources
from hypothesis import example, given
from hypothesis import strategies as st

from cprs_core.views.html import page

EVIL = "<script>alert(1)</script> & \"><img src=x onerror=alert(2)> 'x"
MARKUP = re.compile(r"</?(?:mark|span|details)[^>]*>|<summary>.*?</summary>")


class _Text(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def body(result):
    return result.to_html().split(' marked">')[1].removesuffix("</div></div>")


@given(st.data())
@example(None)
def test_it_shows_the_text_and_nothing_of_it_is_markup(odd_text, data):
    text, ranges = data.draw(sources(odd_text)) if data else (EVIL, [(0, 17), (28, 40)])
    result = compression(text + EVIL, ranges, tag=EVIL, query=EVIL)
    parser = _Text()
    parser.feed(page([result], [EVIL]))
    assert {tag for tag, _ in parser.tags} <= {
        *"html head meta title style body main h1 h2 div p b mark span details summary".split()
    }
    marks = [attributes for tag, attributes in parser.tags if tag == "mark"]
    assert len(marks) == len(ranges)
    assert all(set(attributes) == {"title", "style"} and attributes["title"] == f"{EVIL} 0.50" for attributes in marks)
    shown = "".join(parser.text)
    if not set(text) & set("\r\x00") and "<details" not in result.to_html():  # parsers of HTML replace these
        assert text + EVIL in shown
    assert html.escape(text + EVIL) == MARKUP.sub("", body(result))


def test_long_stretches_fold_away_but_stay_there():
    text = "Word number. " * 400
    result = compression(text, [(2600, 2612)])
    shown = body(result)
    assert shown.count("<details") == 2 and "2,397 characters" in shown
    assert html.escape(text) == MARKUP.sub("", shown)
    folds = re.findall(r"</summary>(.*?)</details>", shown)
    assert all(
        fold.strip().startswith(("Word", "number.")) and fold.rstrip().endswith(("Word", "number.")) for fold in folds
    )
    assert compression(text, []).to_html().count("<details") == 1
    assert compression("x" * 5000, [(2400, 2500)]).to_html().count("<details") == 2  # no white space to fold at


def test_a_notebook_gets_the_fragment():
    result = compression("Keep this. Not that.", [(0, 10)])
    assert result._repr_html_() == result.to_html()
    assert "kept 10 of 40 tokens (25.0%) in 1 span<" in result.to_html()


def test_joined_neighbours_keep_their_own_shades(compressor, prose):
    result = compressor.compress(prose, "When does the licence end?", ratio=0.7)
    marks = re.findall(r'<mark title="fact ([\d.]+)"', result.to_html())
    assert len(marks) > len(result.spans) and len(set(marks)) > 3
    assert html.escape(prose) == MARKUP.sub("", body(result))


def test_a_page_needs_a_title_for_each_result():
    with pytest.raises(ValueError, match="zip"):
        page([compression("a", [])], [])
    assert "http" not in page([compression("a", [])], ["One"])


@pytest.fixture(scope="module")
def browser():
    if not chrome.path():
        pytest.skip(f"no Chromium here: install one ({', '.join(chrome.NAMES)}) or give its path in CHROME")
    with chrome.chromium() as found:
        yield found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_for_everybody(browser, compressor, prose, tmp_path, scheme):
    file = tmp_path / "kept.html"
    results = compressor.compress_documents(
        [prose * 2, "A" * 900 + " b. " + prose, "short"], "x" * 70, "Keep it.", ratio=0.3
    )
    file.write_text(page(results, ["a.txt", "b" * 99, "c.txt"]))
    tab = browser.new_page(viewport={"width": 320, "height": 600}, color_scheme=scheme)
    tab.goto(file.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 320
    tab.locator("summary").first.click()
    found = Axe().run(tab, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}).response
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found["violations"]] == []
    ground = tab.evaluate("getComputedStyle(document.querySelector('mark')).backgroundColor")
    assert (int(re.findall(r"\d+", ground)[0]) > 200) == (scheme == "light")
    fragment = tmp_path / "fragment.html"
    fragment.write_text(f"<!doctype html><html lang=en><title>t</title><main><h1>h</h1>{results[0].to_html()}</main></html>")
    tab.goto(fragment.as_uri())
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.getAttribute('role')") == "region"  # what scrolls can be reached
    tab.close()
