"""Doors that are watched: thin wrappers, put on once by the daemon, so that no adapter counts or times itself."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeVar, cast

_Door = TypeVar("_Door")
Seen = Callable[[str, float, BaseException | None, Any], None]


def watched(door: _Door, seen: Seen) -> _Door:
    """Return a door that does as `door`, and tells `seen` of each call: method, seconds, error, answer."""
    return cast(_Door, _Watched(door, seen))


def beating(door: _Door, beat: Callable[[], None]) -> _Door:
    """Return a door that does as `door`, with a sign of life before and after each call."""
    return cast(_Door, _Beating(door, beat))


class _Wrapped:
    """Whatever is asked of it is asked of the door.

    Protocols grow; a wrapper that repeated their methods would have to grow with them, in silence where it does not.
    """

    def __init__(self, door: Any) -> None:
        self._door = door

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._door, name)
        if name.startswith("_") or not callable(value):
            return value
        return self._around(name, value)

    def _around(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        raise NotImplementedError


class _Watched(_Wrapped):
    def __init__(self, door: Any, seen: Seen) -> None:
        super().__init__(door)
        self._seen = seen

    def _around(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        seen = self._seen

        def call(*arguments: Any, **named: Any) -> Any:
            began = perf_counter()
            try:
                answer = method(*arguments, **named)
            except BaseException as error:
                seen(name, perf_counter() - began, error, None)
                raise
            seen(name, perf_counter() - began, None, answer)
            return answer

        return call


class _Beating(_Wrapped):
    def __init__(self, door: Any, beat: Callable[[], None]) -> None:
        super().__init__(door)
        self._beat = beat

    def _around(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        del name
        beat = self._beat

        def call(*arguments: Any, **named: Any) -> Any:
            beat()
            try:
                return method(*arguments, **named)
            finally:
                beat()

        return call
