"""A call in a thread that holds nobody. Python waits at its end for those of asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(look: Callable[[], T]) -> T:
    """What a call gives that may hang in a driver. Raises what it raises."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(found: list[T], error: Exception | None) -> None:
        if future.done():  # nobody waits any more
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(found[0])

    def work() -> None:
        found: list[T] = []
        problem: Exception | None = None
        try:
            found.append(look())
        except Exception as error:
            problem = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, found, problem)

    threading.Thread(target=work, daemon=True).start()
    return await future
