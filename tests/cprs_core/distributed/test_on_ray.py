"""On a Ray cluster of several processes: the command, workers that are killed, a pipeline of one's own, the service."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import httpx
import map as benchmark
import psutil
import pytest
import ray
import ray.data
import yaml
from fakes import until
from typer.testing import CliRunner

from cprs_core import AuthError, CprsClient, CprsError, ServiceError, cli
from cprs_core.distributed import BatchCompressor, compress_corpus
from cprs_core.distributed.cluster import Pool, warn_if_busy
from cprs_core.server.app import create_app
from cprs_core.server.settings import Settings

from . import helpers
from .helpers import ASKED, MODEL, QUERY, Slow, read, same, texts, write

KEY = "a-key-of-sixteen-characters"


@pytest.fixture(scope="module")
def plain():
    """The same model in this process."""
    return BatchCompressor(**ASKED, **MODEL).compressor


def workers():
    """The processes of the pool that is at work."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "MapWorker" in " ".join(child.cmdline()[:1])]


def test_the_command_on_two_workers(cluster, plain, tmp_path):
    rows = [*texts(60), None]
    write(tmp_path / "in", "parquet", rows)
    arguments = ["map", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-q", QUERY, "--ratio", "0.4"]
    options = ["--workers", "2", "--block-mb", "0.0005", *(f"--{name}={value}" for name, value in MODEL.items())]
    done = CliRunner().invoke(cli.app, [*arguments, *options])
    assert done.exit_code == 0, done.output
    assert "60 rows: kept" in done.stderr and "with 2 workers" in done.stderr
    found = read(tmp_path / "out")
    expected = plain.compress_batch([(text, QUERY) for text in rows[:-1]], ratio=0.4)
    for row, result in zip(found, expected, strict=True):
        same(row, result)
    assert [row["id"] for row in found] == [f"a{i}" for i in range(30)] + [f"b{i}" for i in range(30)]
    assert [row["cprs_row"] for row in read(tmp_path / "out", "bad")] == [30]
    assert len((tmp_path / "out" / "blocks.jsonl").read_text().splitlines()) > 9


def test_killed_workers_lose_and_repeat_nothing(cluster, plain, tmp_path):
    ray.cloudpickle.register_pickle_by_value(helpers)  # workers cannot import tests
    rows = texts(60)
    (first, second) = write(tmp_path, "jsonl", rows)
    killed = []

    def kill(done, total):
        """Once some blocks are done, both workers are killed, in the middle of their next ones."""
        if done > 15 and not killed:
            time.sleep(0.05)
            for worker in workers():
                os.kill(worker.pid, signal.SIGKILL)
                killed.append(worker.pid)

    how = BatchCompressor(**ASKED, load=Slow(0.15))
    done = compress_corpus([first, second], tmp_path / "out", how, block_bytes=400, workers=2, progress=kill)
    assert len(killed) == 2 and done.workers == 2 and done.blocks > 15
    found = read(tmp_path / "out")
    assert [row["id"] for row in found] == [f"a{i}" for i in range(30)] + [f"b{i}" for i in range(30)]
    for row, result in zip(found, plain.compress_batch([(text, QUERY) for text in rows], ratio=0.4), strict=True):
        same(row, result)
    assert (done.rows, done.bad) == (60, 0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")) == []


def test_a_pipeline_of_ray_data(cluster, plain):
    rows = texts(20)
    dataset = ray.data.from_items([{"i": i, "text": text} for i, text in enumerate(rows)], override_num_blocks=2)
    options = {"fn_constructor_kwargs": {**ASKED, **MODEL}, "compute": ray.data.ActorPoolStrategy(size=1)}
    stage = dataset.map_batches(BatchCompressor, batch_size=8, **options)
    stage.context.enable_progress_bars = False
    found = sorted(stage.take_all(), key=lambda row: row["i"])
    for row, result in zip(found, plain.compress_batch([(text, QUERY) for text in rows], ratio=0.4), strict=True):
        same(row, result)
        assert row["text"] == result.source and row["cprs_error"] is None


def test_a_short_run_of_the_benchmark(cluster, tiny_path):
    sizes = ["--documents", "40", "--words", "12", "--rounds", "1", "--block-kb", "1"]
    result = CliRunner().invoke(benchmark.app, ["scale", "--model", str(tiny_path), *sizes])
    assert result.exit_code == 0, result.output
    assert "1 workers: 40 rows" in result.output and "times by the cores' time" in result.output


def test_the_overhead_that_the_benchmark_finds(cluster, here):
    result = CliRunner().invoke(benchmark.app, ["overhead", "--blocks", "10", "--rows", "200", "--megabytes", "1"])
    assert result.exit_code == 0, result.output
    assert "Costs(start=" in result.output and here == [*range(10), *range(10)]


@pytest.fixture(scope="module")
def service(cluster, tmp_path_factory):
    """The application on Ray Serve, with two replicas, as its config file describes it."""
    import socket

    from ray import serve

    from cprs_core.distributed.serve import Arguments, app

    keys = tmp_path_factory.mktemp("keys") / "keys.txt"
    keys.write_text(f"{KEY}  # mine\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    made = app(Arguments(**MODEL, api_keys=keys, limits={"max_documents": 3}))
    deployment = made._bound_deployment.options(num_replicas=2, ray_actor_options={"num_cpus": 1})
    serve.run(deployment.bind(), name="cprs")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


def test_the_service_on_two_replicas(service, plain):
    from ray import serve

    rows = texts(24)
    with CprsClient(service, api_key=KEY) as client, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: client.compress(text, QUERY, ratio=0.4), rows))
        assert list(client.stream(rows[6] * 20, QUERY)) == list(plain.stream(rows[6] * 20, QUERY))
    for result, text in zip(found, rows, strict=True):
        expected = plain.compress(text, QUERY, ratio=0.4)
        assert [(s.start, s.end, s.tag) for s in result.spans] == [(s.start, s.end, s.tag) for s in expected.spans]
        assert result.text == expected.text
    (deployment,) = serve.status().applications["cprs"].deployments.values()
    assert deployment.replica_states == {"RUNNING": 2}
    headers = {"Authorization": f"Bearer {KEY}"}
    served = set()

    def both():  # Ray remembers for seconds that a replica was busy, and asks the other one alone
        page = httpx.get(f"{service}/metrics", headers=headers).text
        served.add(next(line for line in page.splitlines() if line.startswith('cprs_tokens_total{kind="in"}')))
        return len(served) == 2

    until(both, 30)
    assert all(float(line.split()[-1]) > 0 for line in served)  # both have worked


def test_a_busy_cluster_is_told_of(service, caplog):
    warn_if_busy(Pool(1, 1, 0))
    assert "workers wait for cores or GPUs that are in use: the cluster has 0 and 0 free" in caplog.text


def test_keys_limits_problems_and_liveness_are_those_of_cprs_serve(service):
    body = {"text": "It rained.", "query": QUERY}
    assert httpx.get(f"{service}/health").json() == {"status": "ok"}
    assert httpx.get(f"{service}/ready").json() == {"status": "ready"}
    for headers in ({}, {"Authorization": "Bearer not-the-right-key-at-all"}):
        refused = httpx.post(f"{service}/v1/compress", json=body, headers=headers)
        assert refused.status_code == 401 and refused.json()["type"] == "urn:cprs:auth-error"
        assert refused.headers["content-type"] == "application/problem+json"
    with CprsClient(service, api_key="not-the-right-key-at-all") as client, pytest.raises(AuthError):
        client.compress("It rained.", QUERY)
    headers = {"Authorization": f"Bearer {KEY}"}
    many = {"documents": ["a"] * 4, "query": QUERY}
    assert httpx.post(f"{service}/v1/compress", json=many, headers=headers).status_code == 413
    empty = httpx.post(f"{service}/v1/compress", json={**body, "query": " "}, headers=headers)
    assert empty.status_code == 422 and empty.json()["type"] == "urn:cprs:input-error"
    long, soon = {**body, "text": "It rained. " * 20_000}, {**headers, "X-Request-Timeout": "0.05"}
    late = httpx.post(f"{service}/v1/compress", json=long, headers=soon)
    assert late.status_code == 504


def test_a_replica_whose_scheduler_has_stopped_is_not_healthy(plain):
    from cprs_core.distributed.serve import Arguments, app

    replica = SimpleNamespace(app=create_app(plain))
    check = app(Arguments())._bound_deployment.func_or_class.check_health
    check(replica)
    replica.app.state.service.engine.close()
    with pytest.raises(ServiceError, match="has stopped"):
        check(replica)
    replica.app.state.service.close()


def test_arguments_are_the_settings_of_the_service(tmp_path):
    from cprs_core.distributed.serve import Arguments

    (tmp_path / "keys").write_text(KEY)
    given = Arguments(
        limits={"max_body": 1e6, "deadline": 5}, playground=False, api_keys=tmp_path / "keys", cors_origins=("x",)
    )
    found = given.settings()
    assert (found.max_body, found.deadline, found.playground, found.origins) == (1_000_000, 5.0, False, ("x",))
    assert isinstance(found.max_body, int) and found.keys.allow(f"Bearer {KEY}".encode()) and not found.keys.allow(None)
    assert given.model_copy(update={"limits": {}, "api_keys": None}).settings().max_body == Settings().max_body


def test_the_config_file_is_one_that_ray_serve_takes():
    from ray.serve.schema import ServeDeploySchema

    from cprs_core.distributed import serve

    content = yaml.safe_load(Path(serve.__file__).with_suffix(".yaml").read_text("utf-8"))
    (described,) = ServeDeploySchema.model_validate(content).applications
    assert described.import_path == f"{serve.__name__}:{serve.app.__name__}"
    assert signature(serve.app).parameters["args"].annotation is serve.Arguments  # as Ray Serve reads it
    made = serve.app(serve.Arguments.model_validate(described.args))._bound_deployment
    assert [deployment.name for deployment in described.deployments] == [made.name]
    assert made.max_ongoing_requests > described.args["limits"]["max_in_flight"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "./none"}, "there is no folder"),
        ({"limits": {"max_bodies_at_once": 1}}, "there is no limit"),
        ({"limits": {"max_connections": 1}}, "there is no limit 'max_connections' on Ray Serve"),
        ({"api_keys": "none.txt"}, "cannot read the API keys"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message):
    from cprs_core.distributed.serve import Arguments, app

    with pytest.raises(CprsError, match=message):
        app(Arguments(**arguments))
