"""A real Chromium, headless, for tests and pictures. Playwright drives it but brings none."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_QUIET = "--disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync"


def path() -> str | None:
    """Where a Chromium is: ``CHROME``, or one on the path."""
    return os.environ.get("CHROME") or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """A Playwright browser."""
    from playwright.sync_api import sync_playwright

    args = _QUIET.split()
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        args.append("--no-sandbox")  # Chromium's own does not work for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path(), args=args)
        yield browser
        browser.close()
