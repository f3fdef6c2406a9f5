"""Pictures of scores: what lies where is read off the drawing."""

import importlib
import io
import sys
from dataclasses import replace

import numpy as np
import pytest
from fakes import compression
from matplotlib.image import imread

from cprs_core import ContextCompressor
from cprs_core.errors import InputError, MissingExtraError
from cprs_core.views.plot import plot, save

QUERY = "When does the licence end?"


def drawn(axes):
    """The heights over the characters of a text: of all candidates, of what was kept, and where the band is."""
    values, kept, band = (patch.get_data() for patch in axes.patches)
    return values.values, kept.values, band.values > -0.05, values.edges


@pytest.mark.parametrize("preset", [None, "Keep words.\n- tag them with 'word'"])
def test_heights_are_scores_and_blue_is_kept(compressor, prose, preset):
    result = compressor.compress(prose, QUERY, preset, ratio=0.3)
    (axes,) = plot([result]).axes
    heights, kept, band, edges = drawn(axes)
    assert edges[-1] == len(prose) and np.diff(edges).min() == 1  # a short text has a bin a character
    found = result.candidates
    for start, end, score in zip(found.starts, found.ends, found.scores, strict=True):
        assert heights[start:end] == pytest.approx(float(score))
    marks = np.zeros(len(prose), bool)
    for span in result.spans:
        marks[span.start : span.end] = True
    np.testing.assert_array_equal(band, marks)
    np.testing.assert_array_equal(kept >= 0, marks)
    assert [text.get_text().split("\n")[0] for text in axes.texts] == ["least kept"]


@pytest.mark.parametrize(("limits", "line"), [({"threshold": 0.4}, 0.4), ({"ratio": 0.5, "threshold": 0.3}, 0.3)])
def test_the_line_is_the_threshold(compressor, prose, limits, line):
    result = compressor.compress(prose, QUERY, **limits)
    (axes,) = plot([result]).axes
    assert result.limit == line and axes.lines[0].get_ydata()[0] == line
    assert axes.texts[0].get_text() == f"threshold\n{line:.2f}"
    assert all(span.score >= line for span in result.spans)


def test_the_line_of_the_models_own_rule(sparse, compressor, prose):
    assert compressor.compress(prose, QUERY).limit is None  # labels decide
    ruled = ContextCompressor(replace(sparse, thresholds={"sentence": 0.001}, shares={"sentence": 0.9}), window_size=160)
    result = ruled.compress(prose, QUERY)
    best = result.candidates.scores[result.candidates.kept].max()
    assert result.limit == pytest.approx(0.9 * best) and result.limit > 0.001
    assert min(span.score for span in result.spans) >= result.limit
    assert ruled.compress(prose, QUERY, max_tokens=20).limit is None


def test_a_long_text_loses_no_kept_span(compressor, prose):
    text = prose * 20
    result = compressor.compress(text, QUERY, max_tokens=30)
    (axes,) = plot([result]).axes
    _, kept, band, edges = drawn(axes)
    assert len(kept) == 1500
    for span in result.spans:
        place = int(span.start * 1500 / edges[-1])
        assert band[place] and kept[place] > 0


def test_many_texts_with_their_names(compressor, prose, tmp_path):
    results = compressor.compress_documents([prose, "", "Short."], "Does it cost $3 or $4?", ratio=0.5)
    figure = plot(results, ["a_1.txt", "$x^2$", "y" * 200])
    assert len(figure.axes) == 3
    path = tmp_path / "scores.png"
    save(figure, path)
    assert imread(path).shape[1] == 1500 and imread(path).std() > 0.05
    assert figure._repr_png_().startswith(b"\x89PNG")
    figure.savefig(io.BytesIO(), format="svg")
    assert results[0].plot(tmp_path / "one.svg").axes and (tmp_path / "one.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("path", "reason"), [("scores.xyz", "ends? in .png"), ("scores", "end in .png"), ("none/scores.png", "cannot write")]
)
def test_what_cannot_be_written(compressor, tmp_path, path, reason):
    with pytest.raises(InputError, match=reason):
        compressor.compress("Some text.", QUERY).plot(tmp_path / path)


def test_what_cannot_be_drawn(compressor):
    with pytest.raises(InputError, match="no scores"):
        compression("a", []).plot()
    with pytest.raises(InputError, match="1 to 40"):
        plot([compressor.compress("a", QUERY)] * 41)


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    monkeypatch.delitem(sys.modules, "cprs_core.views.plot")
    with pytest.raises(MissingExtraError, match=r"cprs-core\[plot\]"):
        importlib.import_module("cprs_core.views.plot")
