"""Where a service listens."""

from __future__ import annotations

import socket

from ..errors import InputError

LOCAL = ("127.0.0.1", "localhost", "::1")  # only programs of this machine can reach them


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 = any free one.

    Raises:
        InputError: the address is not one of this machine, or the port is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else kept connections wait 40 ms for an ACK
        return listener
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen on {host}:{port}: {error}; choose another --host or --port") from None
