"""Without a model, a compression does the same but for the model's part."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from torch import Tensor

from cprs_core import ContextCompressor
from cprs_core.bench.host import host_alone, model_alone
from cprs_core.bench.texts import Texts
from cprs_core.loading import Checkpoint
from cprs_core.scoring import Memory, Window


def test_it_answers_the_same_each_time_and_keeps_little(tiny: Checkpoint) -> None:
    text = Texts(tiny.tokenizer.count).text(8_000)
    alone = host_alone(ContextCompressor(tiny, window_size=2_048, batch_tokens=4_096))
    assert alone.window_size == 2_048 and alone.engine.batch_tokens == 4_096
    first, second = (alone.compress(text, "Why?") for _ in range(2))
    assert first.spans == second.spans
    assert 0 < first.kept_tokens < 0.2 * first.input_tokens
    assert len(alone.scores(text, "Why?", "Keep the dates.\n## tagging rule:\n- tag with 'date' and as 'time'").keep.T) == 2


def test_the_model_alone_gets_the_same_windows(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Texts(tiny.tokenizer.count).text(2_000)
    compressor = ContextCompressor(tiny, window_size=512, batch_tokens=1_024)
    batches: list[list[bytes]] = []
    score = type(tiny.scorers[0]).score

    def watched(windows: Sequence[Window], memory: Memory) -> Tensor:
        batches.append([window.ids.tobytes() + window.prefix.tobytes() for window in windows])
        return score(tiny.scorers[0], windows, memory)

    monkeypatch.setattr(tiny.scorers[0], "score", watched)
    compressor.scores(text, "Why?")
    expected, batches[:] = list(batches), []
    model_alone(compressor, text, "Why?")()
    assert batches == expected and len(batches) > 1
