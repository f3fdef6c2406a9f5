"""A megabyte of text stays fluid, and the model that comes with the package answers the example."""

import copy
import statistics

import pytest
import torch
from fakes import TableScorer

from cprs_core import ContextCompressor
from cprs_core.engine import Engine
from cprs_core.server.playground import FOLDER

from ..conftest import living
from .conftest import finished
from .test_page import drop

GAPS = """() => {
  window.gaps = [];
  let last = performance.now();
  const tick = () => {
    const now = performance.now();
    gaps.push(now - last);
    last = now;
    requestAnimationFrame(tick);
  };
  tick();
}"""


class Quick(TableScorer):
    """A model that takes no time: scores depend on the token alone."""

    def score(self, windows, memory):
        return torch.cat([self.expected(type(one)(one.ids % 1000, one.prefix, one.tag_ids)) for one in windows])


@pytest.fixture(scope="module")
def small():
    return ContextCompressor.from_pretrained(device="cpu")


def test_a_megabyte(visit, small):
    quick = copy.copy(small)
    quick.engine = Engine([Quick()], batch_tokens=100_000)
    text = "".join(f"{i}. {FOLDER.joinpath('example.txt').read_text()}" for i in range(283))[:1_000_000]
    with living(quick) as server:
        page = visit(server)
        page.evaluate(GAPS)
        drop(page, ("long.txt", text))
        page.fill("#query", "When does the licence end?")
        page.click("#go")
        page.wait_for_selector("#progress[value]", timeout=30_000)
        page.wait_for_selector("#found[aria-busy=false]", timeout=60_000)
        worst = []
        for stop in (60, 100, 120, 140, 160):
            page.evaluate("gaps.length = 0")
            page.locator("#budget").fill(str(stop))
            finished(page)
            worst.append(page.evaluate("Math.max(...gaps)"))
            if stop == 100:
                assert page.evaluate("document.querySelectorAll('#view *').length") < 2000  # what is folded is not made
        assert statistics.median(worst) < 400, worst  # milliseconds without a frame, on slow machines too


def test_the_model_of_the_package_answers_the_example(visit, small):
    with living(small) as server:
        page = visit(server)
        page.click("#example")
        said = finished(page)
    assert said.startswith("Kept 3") and "in 1 span" in said
    assert page.inner_text("mark") == (
        "As in other years the water will be turned off on the first Saturday of November, so that the pipes do not burst, "
        "and turned on again at the end of March."
    )
    assert page.get_attribute("mark", "class") == "s9 first"
