"""What the service allows: sizes, times, keys."""

from __future__ import annotations

from dataclasses import dataclass, field

from .auth import Keys


@dataclass(frozen=True)
class Settings:
    """Args:
    max_body: bytes of a request. max_bodies: bytes of all requests at once; more get 429.
    max_documents: texts of a request. max_tokens: tokens of all texts of a request.
    max_in_flight: requests at once; more get 429. deadline: seconds of a request, the most that its header can ask for.
    max_connections: connections at once; beyond, those go first that have kept the service waiting longest.
    headers_timeout: seconds in which the head of a request must have arrived. body_timeout: seconds in which a body must
    have arrived, and an answer must have been taken. grace: seconds that requests have left when the service stops.
    keys: who may use it; empty = everyone. origins: what CORS allows; empty = off. playground: whether there is a page at /.
    """

    max_body: int = 32 * 2**20
    max_bodies: int = 512 * 2**20
    max_documents: int = 1000
    max_tokens: int = 4_000_000
    max_in_flight: int = 128
    max_connections: int = 512
    deadline: float = 600.0
    headers_timeout: float = 20.0
    body_timeout: float = 60.0
    grace: float = 30.0
    keys: Keys = field(default_factory=Keys)
    origins: tuple[str, ...] = ()
    playground: bool = True
