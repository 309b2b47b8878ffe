"""Whether hosts of a Ray cluster answer, asked before Ray is: it may try without end."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import InfraError, UsageError

ANSWER = 10.0
"""Seconds in which a head must take a connection, and answer on it."""
REACH = 5.0
"""Seconds in which a node must take a connection. Ray lists one that lost power, or its network, as
alive for about a minute, and an agent that is meant for it makes everyone wait."""


def answers(address: str) -> None:
    """Ask an address that names a head for an answer. Others Ray looks up itself.

    Raises:
        InfraError: nobody answers there in time, or no Ray head.
        UsageError: it is no address of a cluster.
    """
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdigit():
        if address == "auto":
            return
        raise UsageError(
            f"{address!r} is not the address of a Ray cluster",
            hint="write HOST:PORT of its head (usually port 6379), auto, or local",
        )
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWER) as connection:
            # The kernel takes a connection also for a process that is stopped.
            if os.environ.get("RAY_USE_TLS", "0") in ("", "0", "false") and not _greets(connection):
                raise InfraError(
                    f"what listens at {address} is no Ray head",
                    hint="give HOST:PORT of the head, usually port 6379",
                )
    except TimeoutError:
        why = f"no answer in {ANSWER:g} s"
    except OSError as error:
        why = error.strerror or str(error)
    else:
        return
    raise InfraError(
        f"cannot join Ray at {address}: {why}",
        hint="is the cluster up? `ray status --address ...` on its head tells",
    )


def _greets(connection: socket.socket) -> bool:
    """Whether who is at the other end speaks HTTP/2, as gRPC does: begins with its settings.

    Source: RFC 9113, sections 3.4 and 6.5. Raises `OSError` if it does not answer.
    """
    settings = b"\0\0\0\x04\0\0\0\0\0"
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
    answer = b""
    while len(answer) < len(settings):
        more = connection.recv(len(settings) - len(answer))
        if not more:
            break
        answer += more
    return answer[3:4] == settings[3:4]


def reached(nodes: list[dict[str, Any]]) -> list[bool]:
    """Which nodes take a connection, asked at the same time: at the port of their raylet."""

    def asked(node: dict[str, Any]) -> bool:
        try:
            where = (node["NodeManagerAddress"], node["NodeManagerPort"])
            socket.create_connection(where, timeout=REACH).close()
        except OSError:
            return False
        return True

    with ThreadPoolExecutor(len(nodes)) as threads:
        return list(threads.map(asked, nodes))


def raylet(node: dict[str, Any]) -> str:
    """Where the raylet of a listed node listens."""
    return f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
