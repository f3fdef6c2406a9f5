"""``cprs serve`` as a deployment of Ray Serve: replicas on the machines of a cluster, more of them as requests come.

    serve run cprs_core.distributed.serve:app model=cprs-small device=cpu
    serve deploy cprs_core/distributed/serve.yaml

A replica is the application of :mod:`cprs_core.server`, with its own model, scheduler, limits and ``/metrics``. Keys,
problems, streams and deadlines are those of ``cprs serve``, as are the routes.
"""

# Ray Serve reads the annotation of app(), so it must be the class itself: no postponed annotations here.

from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import InputError, MissingExtraError, ServiceError
from ..models import DEFAULT_MODEL

try:
    from fastapi import FastAPI
    from pydantic import BaseModel, ConfigDict
    from ray import serve
    from ray.serve import Application
except ImportError as error:
    raise MissingExtraError(error.name or "ray", "ray") from error

from ..server.auth import Keys
from ..server.settings import Settings
from .cluster import known_everywhere

_SPARE = 32  # requests that a replica takes beyond those it works on: for /health, and to answer "too many"
_OWN = ("keys", "origins", "playground")  # settings that have an argument of their own
_PROXY = ("max_connections", "headers_timeout")  # those about connections, which Ray Serve's proxy holds


class Arguments(BaseModel):
    """What ``args`` of the config file may have.

    Args:
        model, device, dtype, window_size, batch_tokens, skim: as for ``cprs serve``.
        api_keys: a file of keys, one a line, read where the application is built, and by replicas when it changes and they
            see it; more may be in ``CPRS_API_KEYS``.
        cors_origins: web page origins that may use it. playground: whether there is a page at /.
        limits: fields of :class:`cprs_core.server.settings.Settings`, such as ``max_body`` (bytes) or ``deadline``
            (seconds); those about a number at once are for each replica. Connections are Ray Serve's own matter.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = DEFAULT_MODEL
    device: str | None = None
    dtype: str | None = None
    window_size: int | None = None
    batch_tokens: int | None = None
    skim: bool = True
    api_keys: Path | None = None
    cors_origins: tuple[str, ...] = ()
    playground: bool = True
    limits: dict[str, float] = {}

    def settings(self) -> Settings:
        """The settings of a replica.

        Raises:
            InputError: unknown limits, or keys that cannot be used.
        """
        usual = {field.name: field.default for field in fields(Settings) if field.name not in _OWN + _PROXY}
        if unknown := sorted(set(self.limits) - set(usual)):
            raise InputError(f"there is no limit {unknown[0]!r} on Ray Serve; use {', '.join(usual)}")
        limits: dict[str, Any] = {
            name: int(value) if isinstance(usual[name], int) else value for name, value in self.limits.items()
        }
        keys = Keys.load(self.api_keys and self.api_keys.resolve())
        return Settings(**limits, keys=keys, origins=self.cors_origins, playground=self.playground)


def app(args: Arguments) -> Application:
    """The application that ``serve run`` and ``serve deploy`` take. Its one deployment is named ``cprs``: replicas,
    autoscaling, cores and GPUs are options of that, see ``serve.yaml``.

    Raises:
        InputError: arguments that cannot be used. ModelLoadError: there is no such folder.
    """
    settings = args.settings()
    loading = args.model_dump(include={"device", "dtype", "window_size", "batch_tokens", "skim"})
    loading["model"] = known_everywhere(args.model)

    def build() -> FastAPI:
        from ..compressor import ContextCompressor
        from ..server.app import create_app
        from ..server.arenas import few_arenas

        few_arenas()
        return create_app(ContextCompressor.from_pretrained(**loading), settings)

    @serve.ingress(build)
    class Replica:
        def check_health(self) -> None:
            """Ray Serve asks this, and replaces a replica that raises."""
            if not self.app.state.service.ready:  # type: ignore[attr-defined]
                raise ServiceError("the scheduler of this replica has stopped")

    options = serve.deployment(
        name="cprs",
        max_ongoing_requests=settings.max_in_flight + _SPARE,
        graceful_shutdown_timeout_s=settings.grace,
    )
    return options(Replica).bind()
