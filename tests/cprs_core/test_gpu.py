"""What only a GPU can show: its kernels agree with the recorded states, its precisions with float32, and running out of
its memory costs time, not results. Skipped without one."""

import importlib
from itertools import accumulate, pairwise

import numpy as np
import pytest
import torch

from cprs_core import ContextCompressor, Instruction
from cprs_core.errors import OutOfMemoryError
from cprs_core.linear import Dense, Float8
from cprs_core.loading import load, load_model
from cprs_core.scoring import PackedScorer, PlainScorer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

CASES = ("len1", "len5", "rand64", "en_prompt", "zh_prompt", "pad2_a", "pad2_b", "pad3_equal_and_short", "batch2_nopad")
PROSE = "The harbour opened in 1871. Ships came from Chile. The keeper's name was Ann Lee. It rained a lot.\n\n" * 200


@pytest.fixture(scope="module")
def small():
    return load(device="cuda", dtype="float32", skim=False)  # what is skimmed depends on the last digits


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("case", CASES)
def test_states_are_those_recorded(tiny_path, case, kernel):
    model = load_model(tiny_path, device="cuda", dtype="float32", attn_implementation=kernel)
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
    half = ContextCompressor.from_pretrained(device="cuda", dtype=dtype, skim=False)
    query = "What was the keeper's name?"
    a, b = (c.scores(PROSE, query).keep.max(-1) for c in (ContextCompressor(small), half))
    assert np.abs(a - b).mean() < 0.01 and ((a >= 0.18) == (b >= 0.18)).mean() > 0.98


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("lengths", [[5, 130, 1, 256, 300], [1500, 2, 1025]])
@pytest.mark.parametrize(("size", "heads", "kv_heads"), [(64, 3, 1), (128, 4, 2), (32, 2, 2)])
@pytest.mark.parametrize("kernel", ["kernels", "hopper"])
def test_attention_within_sequences(kernel, size, heads, kv_heads, lengths, causal):
    if kernel == "hopper" and torch.cuda.get_device_capability()[0] != 9:
        pytest.skip("needs a Hopper GPU")
    attend = importlib.import_module(f"cprs_core.{kernel}").attend
    row = torch.randn(sum(lengths), heads + 2 * kv_heads, size, dtype=torch.bfloat16, device="cuda")
    q, k, v = row.split([heads, kv_heads, kv_heads], 1)
    borders = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device="cuda")
    found = attend(q, k, v, borders, max(lengths), size**-0.5, causal)
    for part, (start, end) in enumerate(pairwise(borders.tolist())):
        one = (x[start:end].transpose(0, 1)[None].float() for x in (q, k, v))
        exact = torch.nn.functional.scaled_dot_product_attention(*one, is_causal=causal, enable_gqa=True)[0].transpose(0, 1)
        torch.testing.assert_close(
            found[start:end].float(), exact, atol=0.02, rtol=0.02, msg=lambda m, part=part: f"{part}: {m}"
        )


@pytest.mark.skipif(torch.cuda.is_available() and torch.cuda.get_device_capability()[0] != 9, reason="needs a Hopper GPU")
def test_another_triton_falls_back_to_the_other_kernel(monkeypatch):
    from cprs_core import hopper

    place = torch.device("cuda", 0), torch.bfloat16, 64
    assert hopper.works(*place)
    monkeypatch.setattr(hopper, "attend", lambda q, *_: torch.zeros_like(q))
    with pytest.warns(UserWarning, match="slower"):
        assert not hopper.works.__wrapped__(*place)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("width", "heads", "kv_heads", "size"), [(576, 9, 3, 64), (3_584, 28, 4, 128), (100, 3, 1, 20)])
def test_fused_steps_are_those_of_torch(dtype, width, heads, kv_heads, size):
    from cprs_core import fused, steps

    def draw(*shape):
        return torch.randn(*shape, dtype=dtype, device="cuda")

    def check(found, expected):
        torch.testing.assert_close(found, expected, atol=1e-5 if dtype == torch.float32 else 0.05, rtol=1e-5 + 0.02 * half)

    half = dtype != torch.float32
    x, y, weight = draw(300, width), draw(300, width), draw(width)
    check(fused.normed(x, weight, 1e-6), steps.normed(x, weight, 1e-6))
    own, others = y.clone(), y.clone()
    summed, (normed,) = fused.add_normed(x, own, weight, 1e-6, Dense.encode)
    expected, (expected_normed,) = steps.add_normed(x, others, weight, 1e-6, Dense.encode)
    assert summed is own and torch.equal(summed, expected)
    check(normed[: len(x)], expected_normed)
    gate_up = draw(300, 2 * 18_944 if width > 1_000 else 2 * width)
    check(fused.gated(gate_up, Dense.encode)[0], steps.gated(gate_up, Dense.encode)[0])
    qkv, cos, sin = draw(300, heads + 2 * kv_heads, size), draw(300, 1, size // 2), draw(300, 1, size // 2)
    places = torch.randperm(500, device="cuda")[:300]
    for norms in (None, (draw(size), draw(size))):
        how = cos, sin, heads, kv_heads, norms, 1e-6
        turned = fused.rotated(qkv.clone(), *how)
        check(turned, steps.rotated(qkv.clone(), *how))
        row = torch.zeros(500, *qkv.shape[1:], dtype=dtype, device="cuda")
        expected = row.index_copy(0, places, turned)
        assert torch.equal(fused.rotated(qkv, *how, (row, places)), expected)


@pytest.mark.parametrize("width", [576, 18_944])
def test_fused_steps_in_8_bits(width):
    from cprs_core import fused, steps

    x, gate_up, weight = (
        torch.randn(*shape, device="cuda").bfloat16() for shape in ((70, width), (70, 2 * width), (width,))
    )
    places = torch.randperm(70, device="cuda")[:50]
    for found, expected in (
        (fused.encoded(x, Float8.encode), Float8.encode(x)),
        (fused.encoded(x, Float8.encode, places), Float8.encode(x[places])),
        (fused.normed(x, weight, 1e-6, Float8.encode), steps.normed(x.float(), weight.float(), 1e-6, Float8.encode)),
        (fused.gated(gate_up, Float8.encode), steps.gated(gate_up.float(), Float8.encode)),
    ):
        found, expected = ([part[: len(expected[0])] for part in parts] for parts in (found, expected))  # less what fills up
        torch.testing.assert_close(found[1], expected[1])
        torch.testing.assert_close(found[0].float() * found[1], expected[0].float() * expected[1], atol=0.1, rtol=0.13)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_fast_pass_agrees_with_transformers(dtype):
    fast = ContextCompressor(load(device="cuda", dtype=dtype, skim=False), window_size=512, batch_tokens=3000)
    plain = ContextCompressor(load(device="cuda", dtype=dtype, attn_implementation="sdpa"), window_size=512)
    assert isinstance(plain.engine.scorers[0], PlainScorer) and isinstance(fast.engine.scorers[0], PackedScorer)
    a, b = (c.scores(PROSE, "What was the keeper's name?").label_probs for c in (fast, plain))
    assert np.abs(a - b).mean() < (1e-5 if dtype == "float32" else 0.004)
    assert (a.argmax(-1) == b.argmax(-1)).mean() > (0.9999 if dtype == "float32" else 0.99)  # both are rounded, apart


@pytest.mark.parametrize("dtype", ["bfloat16", "float8", "int8"])
def test_labels_are_those_of_float32(small, dtype):
    if dtype == "float8" and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("this GPU has no 8-bit floats")
    exact = ContextCompressor(small)
    rounded = ContextCompressor.from_pretrained(device="cuda", dtype=dtype, skim=False)
    labels = [
        [c.scores(PROSE, query).label_probs.argmax(-1) for query in ("What was the keeper's name?", "When did it open?")]
        for c in (exact, rounded)
    ]
    assert (np.array(labels[0]) == np.array(labels[1])).mean() >= 0.995


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_host_never_waits_while_it_hands_over_a_batch(dtype):
    one = ContextCompressor.from_pretrained(device="cuda", dtype=dtype, window_size=512)
    (job,) = one._jobs([(PROSE, "When did it open?")], Instruction.of(None))
    windows, memory = list(job.engine_windows()), {}
    for _ in range(2):  # makes the kernels, with a prefix that is new and with one that is known
        one.engine.scorers[0].score(windows, memory)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for there in (memory, {}):
            one.engine.scorers[0].score(windows, there)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_two_gpus_say_what_one_says(dtype):
    queries = ("What was the keeper's name?", "When did it open?")

    def labels(**options):
        one = ContextCompressor.from_pretrained(dtype=dtype, window_size=512, batch_tokens=2048, **options)
        return np.array([one.scores(PROSE * 5, query).label_probs.argmax(-1) for query in queries])

    for skim in (True, False):
        differs = labels(device="cuda:0,cuda:1", skim=skim) != labels(device="cuda:0", skim=skim)
        assert not differs.any(), f"{differs.sum()} of {differs.size} labels differ ({skim=})"
    layers = {f"model.layers.{i}": i // 15 for i in range(30)} | {"model.norm": 1, "lm_head": 0, "cls_head": 1}
    layers["skimmer"] = 1
    spread = labels(device_map={"model.embed_tokens": 0, "model.rotary_emb": 0, **layers})
    assert (spread == labels(device="cuda:0", attn_implementation="sdpa")).mean() > 0.999


def test_a_stream_that_is_left_frees_the_gpu(small):
    one = ContextCompressor(small, window_size=512, batch_tokens=600)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    spans = one.stream(PROSE * 20, "What was the keeper's name?")
    next(spans)
    spans.close()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + 2**20


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
