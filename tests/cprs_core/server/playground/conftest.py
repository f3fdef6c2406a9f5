"""The page in a real browser, in front of a real server. No page may have faults or ask other hosts."""

from contextlib import ExitStack

import browser as chrome
import pytest
from playwright.sync_api import expect

from ..conftest import living

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def browser():
    if not chrome.path():
        pytest.skip(f"no Chromium here: install one ({', '.join(chrome.NAMES)}) or give its path in CHROME")
    with chrome.chromium() as found:
        yield found


@pytest.fixture(scope="package")
def server(compressor):
    with living(compressor) as found:
        yield found


@pytest.fixture
def visit(browser, server):
    """Opens the page of a server; for all pages, checks in the end that they asked nobody else and had no fault."""
    with ExitStack() as stack:
        seen, faults = [], []

        def open_page(at=server, path="/", **options):
            context = browser.new_context(**{"viewport": DESKTOP, **options})
            stack.callback(context.close)
            context.grant_permissions(["clipboard-read", "clipboard-write"])
            context.on("request", lambda request: seen.append((at.url, request.url)))
            page = context.new_page()
            page.set_default_timeout(60_000)  # slow machines too
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("console", lambda message: faults.append(message.text) if "Security Policy" in message.text else None)
            with page.expect_response("**/playground/settings"):
                page.goto(at.url + path)
            return page

        yield open_page
        assert seen and all(url.startswith((f"{home}/", f"blob:{home}/")) for home, url in seen), seen
        assert not faults


def compress(page, text=None, query=None, **fields):
    """Fills in the form, sends it and waits for the result."""
    for name, value in {"text": text, "query": query, **fields}.items():
        if value is not None:
            page.fill(f"#{name}", value)
    page.click("#go")
    finished(page)


def finished(page):
    """Waits until what is shown is settled, and gives back what it says."""
    page.wait_for_selector("#go:text-is('Compress')")
    page.wait_for_selector("#found[aria-busy=false]")
    return page.inner_text("#status")


def clipboard(page):
    return page.evaluate("navigator.clipboard.readText()")


def copied(page, kind):
    """What a copy button gives."""
    page.click(f".copy[data-as={kind}]")
    expect(page.locator("#status")).to_have_text(f"Copied as {kind}.")
    return clipboard(page)


def problem(page):
    """The error that is shown."""
    page.wait_for_selector("#problem:not(:empty)")
    return page.inner_text("#problem")
