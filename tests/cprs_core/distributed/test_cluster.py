"""How many workers, and what is said where Ray is missing or too small."""

import subprocess
import sys

import pytest

from cprs_core import DeviceError, InputError, MissingExtraError
from cprs_core.distributed.cluster import Pool, plan


@pytest.mark.parametrize(
    ("cores", "gpus_there", "device", "asked", "pool"),
    [
        (8, 0, None, {}, Pool(8, 1, 0)),
        (8, 0, "cpu", {"threads": 3}, Pool(2, 3, 0)),
        (8, 0, "cpu", {"workers": 5}, Pool(5, 1, 0)),
        (8, 2, None, {}, Pool(2, 1, 1)),
        (8, 2, "cpu", {}, Pool(8, 1, 0)),
        (8, 2, None, {"gpus": 0.5}, Pool(4, 1, 0.5)),
        (32, 3, None, {"gpus": 0.1}, Pool(30, 1, 0.1)),
        (32, 2, None, {"gpus": 0.4}, Pool(4, 1, 0.4)),
        (8, 4, "cuda:0,cuda:1", {}, Pool(2, 1, 2)),
        (2, 4, "cuda", {"threads": 2}, Pool(1, 2, 1)),
    ],
)
def test_the_pool_that_fits(cores, gpus_there, device, asked, pool):
    options = {"workers": None, "threads": None, "gpus": None, **asked}
    assert plan({"CPU": cores, "GPU": gpus_there}, device, **options) == pool


@pytest.mark.parametrize(
    ("device", "asked"),
    [
        ("cuda", {}),
        ("cpu", {"workers": 3}),
        ("cpu", {"threads": 4}),
        (None, {"gpus": 1}),
        (None, {"workers": 2, "threads": 2}),
    ],
)
def test_more_than_there_is(device, asked):
    with pytest.raises(DeviceError, match="2 cores, 0 GPUs"):
        plan({"CPU": 2.0}, device, **{"workers": None, "threads": None, "gpus": None, **asked})


def test_numbers_that_make_no_sense():
    with pytest.raises(InputError, match="workers must be at least 1"):
        plan({"CPU": 2.0}, None, workers=0, threads=None, gpus=None)


@pytest.mark.parametrize("module", ["ray", "pyarrow"])
def test_without_the_extra_it_says_how_to_get_it(tmp_path, module):
    (tmp_path / "a.txt").write_text("It rained.")
    arguments = ["cprs", "map", str(tmp_path / "a.txt"), "-o", str(tmp_path / "out"), "-q", "Did it rain?"]
    code = f"import sys; sys.modules[{module!r}] = None; from cprs_core import cli; sys.argv = {arguments!r}; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "pip install 'cprs-core[ray]'" in done.stderr.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_the_deployment_says_so_too(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "cprs_core.distributed.serve", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'cprs-core\[ray\]'"):
        __import__("cprs_core.distributed.serve")


def test_importing_takes_no_ray():
    code = (
        "import sys; from cprs_core import cli; from cprs_core.distributed import BatchCompressor, compress_corpus; "
        "print({'ray', 'pyarrow', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
