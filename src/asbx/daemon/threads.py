"""The Workers port: real threads."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any


class Threads:
    """Hands out thread pools, and lines that threads may share."""

    def pool(self, most: int, name: str) -> Executor:
        """Return a pool of at most so many threads."""
        return ThreadPoolExecutor(most, thread_name_prefix=name)

    def line(self) -> SimpleQueue[Any]:
        """Return an empty line."""
        return SimpleQueue()
