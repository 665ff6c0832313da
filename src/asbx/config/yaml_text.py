"""YAML text to plain values that know their line. Trusts nothing: size, depth, aliases and tags are bounded.

Every scalar stays the text that was written; the schema gives it its type. So `MaxTime: 24:00:00`, `NO` and
`0012` mean what they say, where YAML 1.1 would make 86400, false and 10 of them.
Built on PyYAML's events, which need no recursion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from asbx.config.limits import CONFIG_MAX_DEPTH, CONFIG_MAX_VALUES
from asbx.config.problem import InvalidConfigError, Key, Problem

# libyaml's parser is ten times faster; not every build of PyYAML has it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp")
) | {"!"}
_NULLS = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True)
class Document:
    """What a file says. lines: where each key and list item stands. problems: keys that cannot be right."""

    data: dict[str, Any]
    lines: dict[Key, int]
    problems: tuple[Problem, ...]


@dataclass
class _Node:
    """A scalar (`text`), list or section (`items`; a section's are key, value, key, value ..)."""

    line: int
    kind: str
    text: str | None = None
    items: list[_Node] = field(default_factory=list)


def read_document(text: str, path: Path) -> Document:
    """Read one YAML document whose top is a section. Raises InvalidConfigError when it cannot be read at all."""
    try:
        top = _tree(text, path)
    except yaml.MarkedYAMLError as error:
        raise _refuse(path, _syntax(error, text), _line(error.problem_mark)) from error
    except yaml.YAMLError as error:
        raise _refuse(path, f"this is not YAML: {_one_line(str(error))}", 0) from error
    if top is None:
        raise _refuse(path, "the file is empty", 0)
    if top.kind != "section":
        what = "a list" if top.kind == "list" else "one piece of text"
        raise _refuse(path, f"a configuration has sections such as `aws:` and `slurm:`; this is {what}", top.line)
    unfolding = _Unfolding(path)
    data = unfolding.section(top, ())
    return Document(data, unfolding.lines, tuple(unfolding.problems))


def _tree(text: str, path: Path) -> _Node | None:
    """Return the document's top node, or None when there is none."""
    growing = _Growing(path)
    for event in yaml.parse(text, Loader=_LOADER):
        growing.feed(event)
    top = growing.top
    return None if top is not None and top.kind == "scalar" and top.text is None else top


class _Growing:
    """Builds the tree of nodes from events; an anchor counts from its node's end on, so nothing holds itself."""

    def __init__(self, path: Path) -> None:
        self.top: _Node | None = None
        self._path = path
        self._open: list[tuple[_Node, str | None]] = []
        self._anchors: dict[str, _Node] = {}

    def feed(self, event: yaml.Event) -> None:
        """Take the next event. Raises InvalidConfigError for what no configuration needs."""
        line = _line(event.start_mark)
        if isinstance(event, yaml.CollectionStartEvent):
            self._begin(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._add(*self._open.pop())
        elif isinstance(event, yaml.ScalarEvent):
            _check_tag(event.tag, self._path, line)
            is_null = event.style in (None, "") and event.value in _NULLS
            self._add(_Node(line, "scalar", None if is_null else event.value), event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise _refuse(self._path, f"*{event.anchor} names nothing that stands complete before it", line)
            self._add(self._anchors[event.anchor], None)
        elif isinstance(event, yaml.DocumentStartEvent) and self.top is not None:
            raise _refuse(self._path, "a second document begins here (`---`); one is expected", line)

    def _begin(self, event: yaml.CollectionStartEvent, line: int) -> None:
        _check_tag(event.tag, self._path, line)
        kind = "section" if isinstance(event, yaml.MappingStartEvent) else "list"
        self._open.append((_Node(line, kind), event.anchor))
        if len(self._open) > CONFIG_MAX_DEPTH:
            raise _refuse(self._path, f"nested deeper than {CONFIG_MAX_DEPTH} levels", line)

    def _add(self, node: _Node, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = node
        if self._open:
            self._open[-1][0].items.append(node)
        else:
            self.top = node


class _Unfolding:
    """Turns nodes into values, following aliases and merge keys, and notes line and trouble of each."""

    def __init__(self, path: Path) -> None:
        self.lines: dict[Key, int] = {}
        self.problems: list[Problem] = []
        self._path = path
        self._count = 0

    def section(self, node: _Node, key: Key) -> dict[str, Any]:
        """Return a section's values. Keys without a value count as not stated."""
        out: dict[str, Any] = {}
        seen: dict[str, int] = {}
        sources = [node]
        while sources:
            source = sources.pop()
            self._tick(source)
            if source.kind != "section":
                self._blame(key, "merges (`<<`) something that is not a section", source.line)
                continue
            merged: list[_Node] = []
            for name, value in zip(source.items[::2], source.items[1::2], strict=True):
                if name.kind != "scalar" or name.text is None:
                    self._blame(key, "has a key that is not a plain word", name.line)
                elif name.text == "<<":
                    merged.extend(value.items if value.kind == "list" else [value])
                    self._tick(value, len(merged))
                elif name.text not in seen:
                    seen[name.text] = name.line
                    self._put(out, name, value, key)
                elif source is node:
                    first = seen[name.text]
                    self._blame((*key, name.text), f"is stated twice, first in line {first}", name.line)
            sources.extend(reversed(merged))
        return out

    def _put(self, out: dict[str, Any], name: _Node, value: _Node, key: Key) -> None:
        assert name.text is not None
        if value.kind == "scalar" and value.text is None:
            return
        inner = (*key, name.text)
        self.lines[inner] = name.line
        out[name.text] = self._value(value, inner)

    def _value(self, node: _Node, key: Key) -> Any:
        self._tick(node)
        if len(key) > CONFIG_MAX_DEPTH:
            raise _refuse(self._path, f"its aliases nest deeper than {CONFIG_MAX_DEPTH} levels", node.line)
        if node.kind == "section":
            return self.section(node, key)
        if node.kind == "list":
            return list(self._list(node, key))
        return node.text

    def _list(self, node: _Node, key: Key) -> Iterator[Any]:
        for index, item in enumerate(node.items):
            inner = (*key, index)
            self.lines[inner] = item.line
            if item.kind == "scalar" and item.text is None:
                self._blame(inner, "is empty", item.line)
            yield self._value(item, inner)

    def _tick(self, node: _Node, count: int = 1) -> None:
        self._count += count
        if self._count > CONFIG_MAX_VALUES:
            raise _refuse(self._path, f"its aliases unfold to more than {CONFIG_MAX_VALUES} values", node.line)

    def _blame(self, key: Key, text: str, line: int) -> None:
        self.problems.append(Problem(key, text, line))


def _check_tag(tag: str | None, path: Path, line: int) -> None:
    if tag is not None and tag not in _PLAIN_TAGS:
        raise _refuse(path, f"the tag {_one_line(tag)} has no meaning in a configuration", line)


def _syntax(error: yaml.MarkedYAMLError, text: str) -> str:
    parts = [_one_line(part) for part in (error.context, error.problem) if part]
    said = f"this is not YAML: {', '.join(parts)}"
    lines = text.splitlines()
    number = _line(error.problem_mark)
    if 0 < number <= len(lines) and "\t" in lines[number - 1]:
        said += " (YAML is indented with spaces, never with tabs)"
    return said


def _line(mark: Any) -> int:
    return 0 if mark is None else int(mark.line) + 1


def _one_line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 160 else flat[:157] + "..."


def _refuse(path: Path, text: str, line: int) -> InvalidConfigError:
    return InvalidConfigError(path, [Problem((), text, line)])
