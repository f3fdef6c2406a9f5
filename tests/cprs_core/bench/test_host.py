"""Without a model, a compression does the same but for the model's part."""

from __future__ import annotations

from cprs_core import ContextCompressor
from cprs_core.bench.host import host_alone
from cprs_core.bench.texts import Texts
from cprs_core.loading import Checkpoint


def test_it_answers_the_same_each_time_and_keeps_little(tiny: Checkpoint) -> None:
    text = Texts(tiny.tokenizer.count).text(8_000)
    alone = host_alone(ContextCompressor(tiny, window_size=2_048, batch_tokens=4_096))
    assert alone.window_size == 2_048 and alone.engine.batch_tokens == 4_096
    first, second = (alone.compress(text, "Why?") for _ in range(2))
    assert first.spans == second.spans
    assert 0 < first.kept_tokens < 0.2 * first.input_tokens
    assert len(alone.scores(text, "Why?", "Keep the dates.\n## tagging rule:\n- tag with 'date' and as 'time'").keep.T) == 2
