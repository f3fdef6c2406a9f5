"""Loading: what a checkpoint may look like, and an error that says what is wrong for each that is broken."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from cprs_core import ContextCompressor, devices
from cprs_core.devices import resolve_device
from cprs_core.engine import Engine
from cprs_core.errors import DeviceError, ModelLoadError
from cprs_core.files import quiet
from cprs_core.loading import load, load_model
from cprs_core.scoring import Window


@pytest.fixture
def copied(tiny_path, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tiny_path, folder)
    return folder


def configure(folder, **fields):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for name, value in fields.items():
        config.pop(name, None) if value is ... else config.update({name: value})
    path.write_text(json.dumps(config))


def reweigh(folder, change):
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")


def labels(checkpoint):
    """Label probabilities [40, 4] of some tokens."""
    window = Window(np.arange(40, dtype=np.int32), np.arange(3, dtype=np.int32), np.array([4, 5], np.int32))
    (result,) = Engine(checkpoint.scorers).run([window])
    return torch.from_numpy(result.label_probs)


def test_the_published_layout(tiny, tiny_model, tiny_path):
    assert tiny.name == str(tiny_path) and tiny.has_tags and tiny.window_size == 8192 and tiny.thresholds == {}
    assert tiny_model.config.first_bidirectional_layer == 21
    assert [layer.self_attn.is_causal for layer in tiny_model.model.layers] == [True] * 21 + [False] * 7
    assert not tiny_model.training and not any(p.requires_grad for p in tiny_model.parameters())


def test_fields_of_a_trained_config(copied):
    configure(copied, architectures=["X"], first_bidirectional_layer=3, window_size=512, decision_thresholds={"word": 0.2})
    checkpoint = load(copied, device="cpu", dtype="float32")
    model = load_model(copied, device="cpu")
    assert [layer.self_attn.is_causal for layer in model.model.layers] == [True] * 3 + [False] * 25
    assert (checkpoint.window_size, checkpoint.thresholds) == (512, {"word": 0.2})


def test_the_window_is_no_longer_than_the_model_can_see(copied):
    configure(copied, max_position_embeddings=300)
    assert load(copied, device="cpu", dtype="float32").window_size == 300


def test_without_an_lm_head_the_label_head_scores_alone(copied, tiny):
    reweigh(copied, lambda state: state.pop("lm_head.weight"))
    checkpoint = load(copied, device="cpu", dtype="float32")
    assert not checkpoint.has_tags
    torch.testing.assert_close(labels(checkpoint), labels(tiny))
    scores = ContextCompressor(checkpoint).scores("One text. Two.", "q?")
    assert (scores.tag_probs == 1).all() and scores.keep.shape == (len(scores.starts), 1)


def test_a_checkpoint_may_say_that_its_lm_head_is_no_critic(copied):
    configure(copied, ignore_lm_head=True)
    assert not load(copied, device="cpu", dtype="float32").has_tags


def test_tied_embeddings_are_an_lm_head(copied):
    configure(copied, tie_word_embeddings=True)
    reweigh(copied, lambda state: state.pop("lm_head.weight"))
    checkpoint = load(copied, device="cpu", dtype="float32")
    assert checkpoint.has_tags
    model = load_model(copied, device="cpu", dtype="float32")
    output = model(torch.arange(9).view(1, 9), tag_ids=torch.tensor([4, 5]))
    torch.testing.assert_close(output.tag_logits, output.hidden @ model.model.embed_tokens.weight[[4, 5]].T)
    window = Window(np.arange(3, 9, dtype=np.int32), np.arange(3, dtype=np.int32), np.array([4, 5], np.int32))
    (result,) = Engine(checkpoint.scorers).run([window])
    expected = output.tag_logits.softmax(-1)[0, 3:, :1].numpy()
    np.testing.assert_allclose(result.tag_probs, expected, atol=1e-4)


def test_shards(copied, tiny, tiny_model):
    tiny_model.save_pretrained(copied, max_shard_size="300KB")
    (copied / "model.safetensors").unlink(missing_ok=True)
    configure(copied, architectures=["Qwen2ForCausalLMandBIO"])
    assert len(list(copied.glob("model-*.safetensors"))) > 2
    torch.testing.assert_close(labels(load(copied, device="cpu", dtype="float32")), labels(tiny))


def pickle_only(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])


BROKEN = {
    "no config": (lambda f: (f / "config.json").unlink(), "cannot load the checkpoint"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "config.json"),
    "empty config": (lambda f: (f / "config.json").write_text("{}"), "cannot load the checkpoint"),
    "unknown kind": (lambda f: configure(f, model_type="nothing_known"), "nothing_known"),
    "no border": (lambda f: configure(f, architectures=["Qwen2ForCausalLM"]), "no first_bidirectional_layer"),
    "no architecture": (lambda f: configure(f, architectures=...), "no first_bidirectional_layer"),
    "bad border": (lambda f: configure(f, first_bidirectional_layer=29), "must be 0 to 28"),
    "encoder": (lambda f: configure(f, model_type="t5", first_bidirectional_layer=1), "no causal language model"),
    "sliding": (
        lambda f: configure(f, use_sliding_window=True, sliding_window=8, max_window_layers=2),
        "full self-attention",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "cannot load the checkpoint"),
    "pickle only": (pickle_only, "safetensors"),
    "truncated": (truncate, "cannot load the checkpoint"),
    "no tokenizer": (
        lambda f: [p.unlink() for p in f.iterdir() if p.name not in ("config.json", "model.safetensors")],
        "tokenizer",
    ),
    "no label head": (
        lambda f: reweigh(f, lambda s: (s.pop("cls_head.weight"), s.pop("cls_head.bias"))),
        "cls_head.bias, cls_head",
    ),
    "no layer": (
        lambda f: reweigh(f, lambda s: s.pop("model.layers.5.mlp.up_proj.weight")),
        "model.layers.5.mlp.up_proj.weight",
    ),
    "wrong shapes": (lambda f: configure(f, intermediate_size=48), "mlp"),
    "wrong label head": (
        lambda f: reweigh(f, lambda s: s.update({"cls_head.weight": torch.zeros(3, 32)})),
        "cls_head.weight",
    ),
    "bad quantisation": (lambda f: configure(f, cprs_quantization={"bits": 4}, intermediate_size=48), "mlp"),
    "unreadable quantised": (
        lambda f: (configure(f, cprs_quantization={"bits": 4}), truncate(f)),
        "cannot load the checkpoint",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_checkpoint_is_an_error_that_says_so(copied, name):
    change, message = BROKEN[name]
    change(copied)
    with pytest.raises(ModelLoadError, match=message):
        load(copied, device="cpu", dtype="float32")


def test_code_and_pickles_of_a_checkpoint_are_never_run(copied, tmp_path):
    mark = tmp_path / "ran"
    (copied / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    auto_map = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model", "AutoTokenizer": ["evil.Config", None]}
    configure(copied, auto_map=auto_map)
    load(copied, device="cpu", dtype="float32")
    configure(copied, model_type="unheard_of")
    with pytest.raises(ModelLoadError):
        load(copied, device="cpu", dtype="float32")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing-here", "~/nothing-here-either"])
def test_a_missing_folder(name):
    with pytest.raises(ModelLoadError, match="there is no folder"):
        load(name)


@pytest.mark.parametrize("name", ["nobody/nothing-of-this-name", "no such name!"])
def test_a_name_that_is_nowhere(name):
    with pytest.raises(ModelLoadError, match=r"local folder or a Hugging Face id is expected|there is no folder"):
        load(name, device="cpu")


@pytest.mark.parametrize("device", ["cuda:99", "banana", "meta", "", "cpu:x", 3.5])
def test_a_device_that_is_not_there(tiny_path, device):
    with pytest.raises(DeviceError, match="cpu"):
        load(tiny_path, device=device)


def test_devices():
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    assert resolve_device(None).type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("dtype", ["int4", "float64", "half", "auto", torch.int32, 16])
def test_a_dtype_that_is_not_supported(tiny_path, dtype):
    with pytest.raises(DeviceError, match="float32, bfloat16, float16, float8, int8"):
        load(tiny_path, device="cpu", dtype=dtype)


@pytest.mark.parametrize("dtype", ["float16", torch.bfloat16])
def test_dtypes(tiny_path, dtype):
    model = load_model(tiny_path, device="cpu", dtype=dtype)
    assert model.model.embed_tokens.weight.dtype == (torch.float16 if dtype == "float16" else dtype)
    assert model.cls_head.weight.dtype == torch.float32


def test_without_a_dtype_a_cpu_computes_in_what_it_is_fast_at(tiny_path):
    scorer = load(tiny_path, device="cpu").scorers[0]
    fast = torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32
    assert scorer._decoder.embedding.dtype == fast


def test_copies_on_several_devices_say_the_same(tiny, tiny_path, prose):
    both = ContextCompressor.from_pretrained(
        tiny_path, device="cpu, cpu", dtype="float32", window_size=160, batch_tokens=200
    )
    assert len(both.engine.scorers) == 2
    expected = ContextCompressor(tiny, window_size=160).scores(prose, "When?")
    assert abs(both.scores(prose, "When?").label_probs - expected.label_probs).max() < 1e-4
    assert len(load(tiny_path, device=["cpu", torch.device("cpu")], attn_implementation="sdpa").scorers) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cpu", "dtype": "float8"}, "needs an NVIDIA GPU .* use 'bfloat16', or 'int8'"),
        ({"device": "cpu", "dtype": "int8", "attn_implementation": "eager"}, "use one of float32, bfloat16, float16"),
        ({"device_map": "auto", "dtype": "float8"}, "use one of float32, bfloat16, float16"),
        ({"device": []}, "name at least one"),
        ({"device": "cpu,cuda:99"}, "cuda:99"),
    ],
)
def test_what_cannot_be_is_an_error_that_names_the_alternative(tiny_path, options, message):
    with pytest.raises(DeviceError, match=message):
        load(tiny_path, **options)


def test_int8_needs_a_torch_that_can(tiny_path, monkeypatch):
    monkeypatch.setattr(devices, "ENGINES", ["none"])
    with pytest.raises(DeviceError, match="use 'float32'"):
        load(tiny_path, device="cpu", dtype="int8")


def test_int8_agrees_with_float32():
    text = Path(__file__).parents[2].joinpath("LICENSE").read_text(encoding="utf-8")[:6000]
    exact, rounded = (ContextCompressor.from_pretrained(device="cpu", dtype=name) for name in ("float32", "int8"))
    a, b = (c.scores(text, "May I charge a fee for support?").label_probs for c in (exact, rounded))
    assert (a.argmax(-1) == b.argmax(-1)).mean() >= 0.995
    assert 0 < abs(a - b).max() < 0.4


def test_the_default_model_starts_without_what_takes_seconds_to_import():
    code = (
        "import sys; from cprs_core import ContextCompressor; "
        "ContextCompressor.from_pretrained(device='cpu').compress('It costs 5 dollars.', 'What does it cost?'); "
        "assert not {'transformers', 'accelerate', 'sklearn', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_device_and_device_map_contradict_each_other(tiny_path):
    with pytest.raises(DeviceError, match="give one of them"):
        load(tiny_path, device="cpu", device_map="auto")


@pytest.mark.parametrize("kernel", ["nothing_known", "flash_attention_2"])
def test_a_kernel_that_is_not_there(tiny_path, kernel):
    with pytest.raises(DeviceError):
        load(tiny_path, device="cpu", attn_implementation=kernel)


MAPS = {
    "one device": {"": "cpu"},
    "by part": {"model": "cpu", "lm_head": "cpu", "cls_head": "cpu"},
    "head on disk": {"model": "cpu", "lm_head": "disk", "cls_head": "cpu"},
    "layers on disk": {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.norm": "cpu", "lm_head": "cpu"}
    | {"cls_head": "cpu"}
    | {f"model.layers.{i}": "cpu" if i < 14 else "disk" for i in range(28)},
    "embedding on disk": {
        "model.embed_tokens": "disk",
        "model.rotary_emb": "cpu",
        "model.norm": "cpu",
        "model.layers": "cpu",
    }
    | {"lm_head": "disk", "cls_head": "cpu"},
}


@pytest.mark.parametrize("name", MAPS)
def test_device_maps_and_offload_give_the_same_scores(tiny, tiny_path, prose, name):
    pytest.importorskip("accelerate")
    loaded = ContextCompressor.from_pretrained(tiny_path, device_map=MAPS[name], dtype="float32", window_size=256)
    scores = loaded.scores(prose, "When?")
    expected = ContextCompressor(tiny, window_size=256).scores(prose, "When?")
    assert abs(scores.label_probs - expected.label_probs).max() < 1e-4
    assert abs(scores.tag_probs - expected.tag_probs).max() < 1e-4


def test_no_network(tiny_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")

    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load(tiny_path, device="cpu")


def test_loading_is_quiet_and_leaves_the_log_level_alone(tiny_path, capfd):
    transformers_logging.set_verbosity_warning()
    try:
        load(tiny_path, device="cpu")
        with quiet():
            assert transformers_logging.get_verbosity() == transformers_logging.ERROR
        assert transformers_logging.get_verbosity() == transformers_logging.WARNING
    finally:
        transformers_logging.set_verbosity_warning()
    assert capfd.readouterr() == ("", "")
