"""What people do with the page: give a text and a question, move the slider, copy, and read what went wrong."""

import json
import re
import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest
from fakes import slowed
from playwright.sync_api import expect

from cprs_core.server.auth import Keys

from ..conftest import living
from .conftest import clipboard, compress, copied, finished, problem

QUERY = "When does the licence end?"
KEY = "k" * 24
EVIL = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'><b>Bold</b> &amp; \"quoted\". "


def asked_again(server, page, text, **more):
    """What the API gives for the same, and what the page would copy as JSON."""
    body = {"text": text, "query": QUERY} | more
    (expected,) = httpx.post(f"{server.url}/v1/compress", json=body, timeout=30).json()["results"]
    return expected, json.loads(copied(page, "JSON"))


def same(expected, found):
    """Equal but for the last digits of scores, which batches change."""
    scores = [[one.pop("score") for one in result["spans"]] for result in (expected, found)]
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}


@pytest.mark.parametrize("preset", ["sentences", "answer", "entities"])
def test_the_slider_keeps_what_a_budget_keeps(visit, server, prose, preset):
    prose = prose.replace("\r\n", "\n")  # as text fields have it
    page = visit()
    page.select_option("#preset", preset)
    compress(page, prose, QUERY)
    name = "entities:people and places" if preset == "entities" else preset
    same(*asked_again(server, page, prose, preset=name))
    with page.expect_event("requestfinished", lambda request: request.url.endswith("/v1/tokens")):
        page.fill("#tokens", "30")
    finished(page)
    asked = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(server.url)))
    for stop in (0, 70, 100, 130, 150, 170, 200):
        page.locator("#budget").fill(str(stop))
        finished(page)
        budget = int(page.input_value("#tokens"))
        expected, found = asked_again(server, page, prose, preset=name, max_tokens=budget)
        assert found["kept_tokens"] <= budget and page.is_checked("#by-budget")
        same(expected, found)
    for budget in (7, 48, 5000):
        page.fill("#tokens", str(budget))
        finished(page)
        same(*asked_again(server, page, prose, preset=name, max_tokens=budget))
    page.check("#by-model")
    finished(page)
    same(*asked_again(server, page, prose, preset=name))
    assert set(asked) == {"/v1/tokens"}  # the model has not run again


def test_what_is_shown_is_what_is_kept(visit, compressor, prose):
    prose = prose.replace("\r\n", "\n")
    page = visit()
    compress(page, prose, QUERY, tokens=None)
    page.fill("#tokens", "60")
    said = finished(page)
    result = compressor.compress(prose, QUERY, max_tokens=60)
    assert said.startswith(f"Kept {result.kept_tokens} of {result.input_tokens} tokens")
    assert f"in {len(result.spans)} span" in said
    assert "".join(page.locator("mark").all_text_contents()) == "".join(span.text for span in result.spans)
    assert page.locator("mark.first").count() == len(result.spans)
    titles = page.eval_on_selector_all("mark", "all => all.map((one) => one.title)")
    assert all(re.fullmatch(r"fact, score 0\.\d\d", title) for title in titles)
    while page.locator("details:not([open])").count():
        page.locator("details:not([open]) summary").first.click()
    text = page.evaluate("document.querySelectorAll('summary').forEach((one) => one.remove()), view.textContent")
    assert text == prose
    page.fill("#tokens", "61")
    finished(page)
    assert page.locator("details:not([open])").count() == 0  # what was unfolded stays so


def test_an_example_is_one_click_away(visit):
    page = visit()
    page.click("#example")
    assert finished(page).startswith(("Kept", "Nothing"))
    assert page.input_value("#text").startswith("HARBOUR STREET")
    assert page.inner_text("#result-title") == page.input_value("#query") != ""


def test_pasting(visit, prose):
    page = visit()
    page.evaluate("(text) => navigator.clipboard.writeText(text)", prose)
    page.focus("#text")
    page.keyboard.press("Control+V")
    compress(page, None, QUERY)
    assert json.loads(copied(page, "JSON"))["input_tokens"] > 400


def drop(page, *files):
    transfer = page.evaluate_handle(
        """(files) => {
          const transfer = new DataTransfer();
          for (const [name, content] of files) {
            transfer.items.add(new File([typeof content === "string" ? content : new Uint8Array(content)], name));
          }
          return transfer;
        }""",
        [[name, content if isinstance(content, str) else list(content)] for name, content in files],
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    assert "dropping" in page.get_attribute("body", "class")
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    assert "dropping" not in page.get_attribute("body", "class")


def test_dropping_a_file_keeps_its_offsets(visit, server, prose):
    text = "\ufeff" + prose  # a byte order mark and ends of lines count, as they do in the file
    assert "\r\n" in text and "😀" in text
    page = visit()
    drop(page, ("notes.txt", text.encode()))
    expect(page.locator("#text-note")).to_contain_text("notes.txt")
    compress(page, None, QUERY)
    page.fill("#tokens", "100")
    finished(page)
    expected, found = asked_again(server, page, text, max_tokens=100)
    same(expected, found)
    assert all(text[span["start"] : span["end"]] == span["text"] for span in found["spans"])
    assert 'open("notes.txt", encoding="utf-8", newline="")' in copied(page, "Python")
    page.type("#text", "!")
    compress(page, None, QUERY)
    assert "open(" not in copied(page, "Python")


def test_opening_a_file(visit, tmp_path):
    path = tmp_path / "minutes.md"
    path.write_text("The licence ends in 2031. " * 3)
    page = visit()
    with page.expect_file_chooser() as chooser:
        page.click("#open")
    chooser.value.set_files(path)
    expect(page.locator("#text-note")).to_contain_text("minutes.md")
    assert page.input_value("#text") == path.read_text()
    assert page.evaluate("document.activeElement.id") == "query"


@contextmanager
def limited(compressor, **settings):
    with living(compressor, **settings) as server:
        yield server


def test_files_that_cannot_be_used(visit, compressor):
    with limited(compressor, max_body=2000) as small:
        page = visit(small)
        drop(page, ("big.txt", b"a" * 2001))
        assert "Too large: big.txt makes a request of 2,001 bytes, and this service takes 2,000." in problem(page)
        drop(page, ("a.txt", b"a"), ("b.txt", b"b"))
        expect(page.locator("#problem")).to_contain_text("One file at a time")
        drop(page, ("latin.txt", "café".encode("latin1")))
        expect(page.locator("#problem")).to_contain_text("Not a text in UTF-8")
        assert "latin.txt" in problem(page) and page.input_value("#text") == ""
        page.fill("#text", "a\n" * 800)  # over the limit as JSON alone
        page.fill("#query", QUERY)
        page.click("#go")
        expect(page.locator("#problem")).to_contain_text("Too large")
        assert "--max-body-mb" in problem(page)


def test_what_the_service_refuses_is_shown(visit, compressor):
    with limited(compressor, max_tokens=50) as small:
        page = visit(small)
        page.fill("#text", "many words " * 100)
        page.fill("#query", QUERY)
        page.click("#go")
        shown = problem(page)
        assert shown.startswith("Too large: a request may have 50 tokens, got ") and "(request " in shown
        page.select_option("#preset", "own")
        page.fill("#words", " ")
        page.fill("#text", "Few words.")
        page.click("#go")
        expect(page.locator("#problem")).to_contain_text("Unusable input")
        assert "the instruction is empty" in problem(page)
        assert page.inner_text("#status") == "No result." and page.inner_text("#go") == "Compress"


def test_a_form_that_lacks_something_says_what(visit):
    page = visit()
    page.click("#go")
    assert "There is no text" in problem(page) and page.evaluate("document.activeElement.id") == "text"
    page.fill("#text", "Some text.")
    page.press("#text", "Tab")
    page.click("#go")
    expect(page.locator("#problem")).to_contain_text("There is no question")
    assert page.evaluate("document.activeElement.id") == "query"


def test_a_key_where_there_are_some(visit, compressor, prose):
    with limited(compressor, keys=Keys([KEY])) as keyed:
        page = visit(keyed)
        page.wait_for_selector("#key", state="visible")
        page.fill("#text", prose)
        page.fill("#query", QUERY)
        page.fill("#key", "wrong" * 5)
        page.click("#go")
        assert problem(page).startswith("Unauthorized: give one of the service's API keys")
        assert page.evaluate("document.activeElement.id") == "key"
        compress(page, key=KEY)
        assert KEY not in copied(page, "curl") + copied(page, "Python") and "$CPRS_API_KEY" in copied(page, "curl")
        stored = "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
        assert KEY not in page.evaluate(stored)
        page.reload()
        assert page.input_value("#key") == ""


def test_a_service_that_is_busy_or_gone(visit, compressor, prose):
    slow, brake = slowed(compressor)
    with limited(slow, max_in_flight=1) as server:
        page, other = visit(server), visit(server)
        brake.free.clear()
        for one in (page, other):
            one.fill("#text", prose)
            one.fill("#query", QUERY)
        other.click("#go")
        other.wait_for_selector("#go:text-is('Stop')")
        page.wait_for_timeout(200)
        page.click("#go")
        assert problem(page).startswith("Too many requests: the service works on 1 requests already")
        other.click("#go")
        other.wait_for_selector("#go:text-is('Compress')")
        assert other.inner_text("#status") == "Stopped." and other.inner_text("#problem") == ""
        brake.free.set()
        page.wait_for_timeout(300)
        compress(page)
        assert page.inner_text("#problem") == ""
    page.fill("#tokens", "20")
    page.wait_for_selector("#problem:not(:empty)")
    assert "cannot be reached" in problem(page)


def test_progress_is_shown(visit, compressor, prose):
    slow, _ = slowed(compressor, 0.15)
    with limited(slow) as server:
        page = visit(server)
        page.fill("#text", prose * 2)
        page.fill("#query", QUERY)
        page.click("#go")
        expect(page.locator("#progress")).to_have_attribute("value", re.compile("[1-9]"))
        seen = page.evaluate("[progress.value, progress.max]")
        assert 0 < seen[0] <= seen[1] and seen[1] > 3
        finished(page)
        assert page.is_hidden("#progress")


def test_markup_in_a_text_is_shown_and_never_run(visit, server):
    page = visit()
    page.select_option("#preset", "own")
    compress(page, EVIL * 9, "<b>Who?</b>", words="<i>Keep</i>\n- tag it with '<img src=x onerror=hack()>'")
    page.fill("#tokens", "40")
    finished(page)
    assert page.inner_text("#result-title") == "<b>Who?</b>"
    assert page.locator("#view script, #view img, #view b").count() == 0
    assert "<script>window.hacked = 1</script>" in page.inner_text("#view")
    assert "<img src=x onerror=hack()>" in page.locator("mark").first.get_attribute("title")
    drop(page, (f"{EVIL[:40]}.txt".replace("/", "|"), EVIL.encode("utf-16")))
    expect(page.locator("#problem")).to_contain_text("Not a text")
    assert page.evaluate("typeof window.hacked") == "undefined"
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<b>x</b>'")


def test_what_is_copied_makes_the_same_result(visit, server):
    text = 'It\'s "odd": $HOME `id` \\ 100% 😀 end.\nEND\nNobody knows why. 中文句子。\t<|im_end|> ' * 5
    page = visit()
    page.select_option("#preset", "own")
    compress(page, text, QUERY, words="Keep 'it' and \"that\".")
    page.fill("#tokens", "45")
    finished(page)
    kept = copied(page, "text")
    (expected,) = httpx.post(
        f"{server.url}/v1/compress",
        json={"text": text, "query": QUERY, "instruction": "Keep 'it' and \"that\".", "max_tokens": 45},
    ).json()["results"]
    assert kept == expected["text"] != ""
    curl = subprocess.run(["bash", "-c", copied(page, "curl")], capture_output=True, timeout=30, check=True)
    assert json.loads(curl.stdout)["results"][0]["text"] == kept
    code = copied(page, "Python")
    python = subprocess.run([sys.executable, "-X", "utf8", "-c", code], capture_output=True, timeout=60, check=True)
    assert python.stdout.decode() == kept + "\n"
    assert clipboard(page) == code


def test_copying_without_a_clipboard(visit):
    page = visit()
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined, configurable: true})")
    compress(page, "The licence ends in 2031. Nobody knew. " * 3, QUERY)
    page.click(".copy[data-as=text]")
    expect(page.locator("#status")).to_have_text("Copied as text.")
    page.evaluate("delete navigator.clipboard")
    assert clipboard(page)
    assert page.evaluate("document.activeElement.dataset.as") == "text"


def test_a_prefix_of_a_proxy_is_no_problem(visit, server):
    """All addresses are relative: here the page lies under another path."""
    page = visit()
    page.route("**/tools/cprs/**", lambda route: route.continue_(url=route.request.url.replace("/tools/cprs", "")))
    page.goto(f"{server.url}/tools/cprs/")
    compress(page, "The licence ends in 2031. Nobody knew. " * 3, QUERY)
    assert f"{server.url}/tools/cprs/v1/compress" in copied(page, "curl")
