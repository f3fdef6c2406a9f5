"""The picture of the playground in the README: ``cprs serve`` with the default model, the built-in example, a budget.

    python benchmarks/playground.py --out benchmarks/playground.png

Needs ``pip install 'cprs-core[server]' playwright pillow`` and a Chromium.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from browser import chromium
from PIL import Image

QUESTION = "How much money was spent, and on what?"


@contextmanager
def serving() -> Iterator[str]:
    """The address of a service."""
    command = [sys.executable, "-m", "cprs_core.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = next(line for line in process.stderr if "listens on" in line)
            yield re.search(r"http://[\d.:]+", line)[0]
        finally:
            process.terminate()


def draw(out: Path, tokens: int) -> None:
    with serving() as url, chromium() as browser:
        page = browser.new_page(viewport={"width": 1180, "height": 780})
        page.goto(url)
        page.click("#example")
        page.wait_for_selector("mark")
        page.fill("#query", QUESTION)
        page.click("#go")
        page.wait_for_selector(f"#result-title:text-is('{QUESTION}')")
        page.fill("#tokens", str(tokens))
        page.wait_for_selector("#found[aria-busy=false]")
        print(page.inner_text("#status"))
        page.evaluate("document.activeElement.blur()")
        # 128 colours: less than half of the size
        Image.open(BytesIO(page.screenshot())).quantize(128).save(out, optimize=True)
        print(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("playground.png"))
    parser.add_argument("--tokens", type=int, default=150, help="the budget")
    options = parser.parse_args()
    draw(options.out, options.tokens)
