"""The page for everybody: no violations that axe-core knows of, by keyboard alone, on a phone, in the dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from .conftest import PHONE, compress, finished, problem

QUERY = "When does the licence end?"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
LOOKS = {"light": {}, "dark": {"color_scheme": "dark"}, "phone": PHONE, "dark phone": {"color_scheme": "dark", **PHONE}}


def violations(page):
    found = Axe().run(page, options=RULES).response
    assert len(found["passes"]) > 15
    return [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found["violations"]]


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing(visit, prose, look):
    page = visit(**LOOKS[look])
    assert violations(page) == []
    page.click("#go")
    problem(page)
    page.select_option("#preset", "own")
    page.evaluate("document.querySelector('#key-field').hidden = false")
    assert violations(page) == []
    page.select_option("#preset", "sentences")
    compress(page, prose * 3, QUERY)
    for share in (8, 2):  # few and many kept spans, of low and high scores
        page.fill("#tokens", str(page.evaluate("Number(document.querySelector('#budget').max)") * 10 // share))
        finished(page)
        if page.locator("summary").count():
            page.locator("summary").first.click()
        assert page.locator("mark").count() > 3
        assert violations(page) == []


@pytest.mark.parametrize("width", [320, 360, 768])
def test_nothing_is_wider_than_a_phone(visit, width):
    page = visit(**{**PHONE, "viewport": {"width": width, "height": 640}})
    word = "a" * 60
    page.select_option("#preset", "own")
    compress(page, f"The licence ends in {word * 9}. Nobody knew. " * 3, word, words="Keep it.")
    page.fill("#tokens", "40")
    finished(page)
    page.fill("#text", "")
    page.click("#go")
    problem(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = """[...document.querySelectorAll("button, input, select, textarea, summary")]
      .filter((one) => one.checkVisibility() && one.type !== "radio" && one.getBoundingClientRect().height < 24).length"""
    assert page.evaluate(small) == 0  # targets of fingers, WCAG 2.5.8


def focus(page):
    return page.evaluate("document.activeElement.id || document.activeElement.dataset.as || document.activeElement.tagName")


def test_by_keyboard_alone(visit, prose):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the form"
    order = []
    for _ in range(6):
        page.keyboard.press("Tab")
        order.append(focus(page))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", order[-1]
    assert order == ["example", "open", "text", "query", "preset", "go"]
    page.focus("#text")
    page.keyboard.insert_text(prose * 3)
    page.keyboard.press("Tab")
    page.keyboard.insert_text(QUERY)
    page.keyboard.press("Enter")  # sends the form
    finished(page)
    assert focus(page) == "result-title"
    order = []
    for _ in range(8):
        page.keyboard.press("Tab")
        order.append(focus(page))
    assert order[:8] == ["by-model", "tokens", "budget", "text", "JSON", "curl", "Python", "previous"]
    page.focus("#by-model")
    page.keyboard.press("ArrowDown")
    assert finished(page) and page.is_checked("#by-budget")
    before = page.get_attribute("#budget", "aria-valuetext")
    assert before.startswith(f"{page.input_value('#tokens')} of ")
    page.focus("#budget")
    for key, sign in (("PageDown", -1), ("ArrowRight", 1), ("Home", -1), ("End", 1)):
        tokens = int(page.input_value("#tokens"))
        page.keyboard.press(key)
        said = finished(page)
        assert (int(page.input_value("#tokens")) - tokens) * sign > 0
        assert "tokens" in said
        assert page.get_attribute("#budget", "aria-valuetext").startswith(page.input_value("#tokens")[:1])
    page.focus("#next")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.matches('mark.first')")
    page.fill("#tokens", "5")
    finished(page)
    page.focus("summary")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.open")


def test_going_from_one_kept_span_to_the_next(visit, prose):
    page = visit()
    compress(page, prose * 2, QUERY)
    page.fill("#tokens", "60")
    finished(page)
    count = page.locator("mark.first").count()
    index = "[...document.querySelectorAll('mark.first')].indexOf(document.activeElement)"
    assert count > 2
    seen = []
    for button in ("next", "next", "previous", "previous"):
        page.evaluate(f"document.querySelector('#{button}').click()")
        seen.append(page.evaluate(index))
    assert seen == [0, 1, 0, count - 1]


def test_what_is_heard(visit, prose):
    """Landmarks, names and live regions, as the browser hands them to screen readers."""
    page = visit()
    assert page.get_by_role("banner").count() == page.get_by_role("main").count() == 1
    for role, name in (("textbox", "Text"), ("textbox", "Question"), ("combobox", "What to keep"), ("button", "Compress")):
        assert page.get_by_role(role, name=name, exact=True).count() == 1
    compress(page, prose, QUERY)
    assert page.get_by_role("region", name=QUERY).count() == 1
    assert page.get_by_role("status").inner_text().startswith("Kept")
    for role, name in (("group", "How much to keep"), ("slider", "Budget"), ("spinbutton", "Budget in tokens")):
        assert page.get_by_role(role, name=name, exact=True).count() == 1
    page.fill("#tokens", "-3")
    assert page.get_attribute("#tokens", "aria-invalid") == "true"
    assert "whole number from 1 on" in page.inner_text("#tokens-note")
    said = page.inner_text("#status")
    page.check("#by-budget")
    page.wait_for_timeout(200)
    assert page.inner_text("#status") == said  # nothing is chosen by it
    marked = page.evaluate("getComputedStyle(document.querySelector('mark.first'), '::before').content")
    assert "kept" in marked


def test_nothing_moves_for_those_who_do_not_want_it(visit):
    page = visit(reduced_motion="reduce")
    moving = "[...document.querySelectorAll('*')].filter((one) => getComputedStyle(one).transitionDuration !== '0s').length"
    assert page.evaluate(moving) == 0
