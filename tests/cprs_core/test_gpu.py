"""What only a GPU can show: its kernels agree with the recorded states, its precisions with float32, and running out of
its memory costs time, not results. Skipped without one."""

import numpy as np
import pytest
import torch

from cprs_core import ContextCompressor, Instruction
from cprs_core.errors import OutOfMemoryError
from cprs_core.loading import load

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

CASES = ("len1", "len5", "rand64", "en_prompt", "zh_prompt", "pad2_a", "pad2_b", "pad3_equal_and_short", "batch2_nopad")
PROSE = "The harbour opened in 1871. Ships came from Chile. The keeper's name was Ann Lee. It rained a lot.\n\n" * 200


@pytest.fixture(scope="module")
def small():
    return load(device="cuda", dtype="float32")


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("case", CASES)
def test_states_are_those_recorded(tiny_path, case, kernel):
    model = load(tiny_path, device="cuda", dtype="float32", attn_implementation=kernel).model
    with np.load(tiny_path.parent / "forward.npz") as recorded:
        ids, mask = (torch.from_numpy(recorded[f"{case}/{name}"]).long().cuda() for name in ("input_ids", "attention_mask"))
        expected = recorded[f"{case}/{kernel}/bi_logits"]
    with torch.inference_mode():
        logits = model(ids, attention_mask=None if mask.all() else mask).label_logits.cpu().numpy()
    real = mask.bool().cpu().numpy()
    assert np.abs(logits - expected)[real].max() <= 5e-4
    assert (logits.argmax(-1) == expected.argmax(-1))[real].all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_agrees_with_float32(small, dtype):
    half = ContextCompressor.from_pretrained(device="cuda", dtype=dtype)
    query = "What was the keeper's name?"
    a, b = (c.scores(PROSE, query).keep.max(-1) for c in (ContextCompressor(small), half))
    assert np.abs(a - b).mean() < 0.01 and ((a >= 0.18) == (b >= 0.18)).mean() > 0.98


def test_a_gpu_says_what_a_cpu_says(small):
    text, query = PROSE[:3000], "What was the keeper's name?"
    cpu = ContextCompressor.from_pretrained(device="cpu", dtype="float32")
    a, b = (c.scores(text, query).keep for c in (ContextCompressor(small), cpu))
    assert np.abs(a - b).max() < 5e-3


def test_running_out_of_memory_halves_the_batch_and_changes_nothing(small):
    roomy = ContextCompressor(small, window_size=512)
    expected = roomy.compress(PROSE, "Where did ships come from?")
    cramped = ContextCompressor(small, window_size=512, batch_tokens=10**6)
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    used = torch.cuda.memory_allocated()
    torch.cuda.set_per_process_memory_fraction((used + 120 * 2**20) / total)
    try:
        result = cramped.compress(PROSE, "Where did ships come from?")
        assert cramped.engine.batch_tokens < 10**6
        assert [(s.start, s.end) for s in result.spans] == [(s.start, s.end) for s in expected.spans]
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction((used + 2 * 2**20) / total)
        with pytest.raises(OutOfMemoryError, match="smaller window_size"):
            ContextCompressor(small, window_size=2048).compress(PROSE, "Where?", Instruction.answer())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
