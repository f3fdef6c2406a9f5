"""A megabyte of text stays fluid; the model that comes with the package answers the example, and skims long texts."""

import statistics
from dataclasses import replace

import pytest
import torch
from fakes import TableScorer

from cprs_core import ContextCompressor
from cprs_core.server.playground import FOLDER

from ..conftest import living
from .conftest import compress, finished, problem
from .test_page import asked_again, drop, same

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
    quick = ContextCompressor(replace(small.checkpoint, scorers=[Quick()], skim=None), batch_tokens=100_000)
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


def skimming(small):
    """Windows so small that the example has several; each is a batch of its own, so that scores are always the same."""
    return ContextCompressor(small.checkpoint, window_size=512, batch_tokens=1)


def test_a_text_that_is_skimmed_is_read_once_for_larger_budgets(visit, small):
    """As the service does: without a budget, and up to a twentieth of the text, it skims."""
    text, query = FOLDER.joinpath("example.txt").read_text(), "How much money was spent, and on what?"
    with living(skimming(small)) as server:
        page = visit(server)
        runs = []
        page.on("request", lambda request: runs.append(request) if request.url.endswith("/v1/scores") else None)
        compress(page, text, query)
        same(*asked_again(server, page, text, query=query))
        edge = server.service.compressor.candidates(text, query).skimmed_to
        assert 20 < edge < 60
        for budget, read in ((20, 1), (edge, 1), (edge + 1, 2), (150, 2), (edge - 1, 2), (800, 2)):
            page.fill("#tokens", str(budget))
            finished(page)
            same(*asked_again(server, page, text, query=query, max_tokens=budget))
            assert len(runs) == read
        page.check("#by-model")
        finished(page)
        same(*asked_again(server, page, text, query=query))
        assert page.inner_text("#problem") == "" and page.is_hidden("#reading")


def test_a_reading_that_fails_can_be_tried_again(visit, small):
    with living(skimming(small)) as server:
        page = visit(server)
        page.click("#example")
        finished(page)
        page.route("**/v1/scores", lambda route: route.abort())
        page.fill("#tokens", "200")
        assert "cannot be reached" in problem(page) and page.inner_text("#status") == "No result for this budget."
        page.click(".copy[data-as=text]")  # which says so again, and copies nothing else
        page.unroute("**/v1/scores")
        page.fill("#tokens", "201")
        assert finished(page).startswith("Kept") and page.inner_text("#problem") == ""
