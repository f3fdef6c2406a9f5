"""Which Ray cluster, and how many workers of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import DeviceError, InputError, MissingExtraError, ServiceError

_logger = logging.getLogger("cprs_core.distributed")
_STORE = 256 * 2**20  # bytes; only notes on blocks go through Ray, no texts


@dataclass(frozen=True)
class Pool:
    """Args:
    workers: processes, each with a copy of the model. cpus, gpus: what each has for itself; gpus may be a fraction.
    """

    workers: int
    cpus: int
    gpus: float


def check_installed() -> None:
    """Raises MissingExtraError where Ray is not installed with its part for data."""
    try:
        import pyarrow  # noqa: F401
        import ray.data  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(error.name or "ray", "ray") from error


@contextmanager
def connected(address: str | None) -> Iterator[Mapping[str, float]]:
    """The resources of a cluster: the one that this process is connected to, else that at the address, or in RAY_ADDRESS,
    else one of this machine alone, which is started and stopped.

    Raises:
        ServiceError: there is no cluster at the address. InputError: this process is connected to another one.
    """
    import ray

    if ray.is_initialized():
        if address is not None:
            raise InputError(
                "this process is connected to a Ray cluster already; leave out the address, or call ray.shutdown()"
            )
        yield ray.cluster_resources()
        return
    address = address or os.environ.get("RAY_ADDRESS")
    log = logging.getLogger("ray.data")
    level = log.level
    try:
        if address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of ours tells nobody about itself
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=_STORE,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ServiceError(f"no Ray cluster at {address or 'this machine'}: {error}") from error
    log.setLevel(logging.ERROR)
    try:
        yield ray.cluster_resources()
    finally:
        log.setLevel(level)
        ray.shutdown()


def plan(
    resources: Mapping[str, float], device: str | None, *, workers: int | None, threads: int | None, gpus: float | None
) -> Pool:
    """The pool for a model on a device. By default a GPU for each worker where there are any, else one core, and as many
    workers as there is room for.

    Raises:
        DeviceError: the cluster has not that much.
    """
    for name, value in (("workers", workers), ("threads", threads), ("gpus", gpus)):
        if value is not None and value < (0 if name == "gpus" else 1):
            raise InputError(f"{name} must be at least {0 if name == 'gpus' else 1}, got {value}")
    there = {name: resources.get(name, 0.0) for name in ("CPU", "GPU")}
    if gpus is None:
        named = device.count("cuda") if device else int(there["GPU"] > 0)
        gpus = float(named)
    cpus = threads or 1
    room = int(there["CPU"] // cpus)
    if gpus:
        share = int(1 / gpus + 1e-6)  # workers that fit on one GPU
        room = min(room, int(there["GPU"]) * share if share else int(there["GPU"] // gpus))
    if room < (workers or 1):
        raise DeviceError(
            f"{workers or 1} workers of {cpus} cores and {gpus:g} GPUs each are more than the cluster has: "
            f"{there['CPU']:g} cores, {there['GPU']:g} GPUs; ask for fewer workers or threads, or add machines"
        )
    return Pool(workers or room, cpus, gpus)


def warn_if_busy(pool: Pool) -> None:
    """Says so in the log if there is no room for a single worker now: the pool then waits until others have ended."""
    import ray

    free = ray.available_resources()
    cores, gpus = free.get("CPU", 0.0), free.get("GPU", 0.0)
    if cores < pool.cpus or gpus < pool.gpus:
        _logger.warning("workers wait for cores or GPUs that are in use: the cluster has %g and %g free", cores, gpus)
