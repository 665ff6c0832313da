"""From a spool file to a Request: both shapes of the resume file, any unknown keys, nothing taken on trust.

The argument list decides which nodes are meant; the resume file only says which of them belong together. So a damaged
or missing file costs the grouping, never the nodes (ParallelCluster then reports success and launches nothing).
Shapes: 22.05 `all_nodes`, `jobs[].nodes`; from 23.02 `all_nodes_resume`, `jobs[].nodes_alloc`, `jobs[].nodes_resume`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from asbx.errors import AsbxError
from asbx.model.hostlist import expand, unique_sorted
from asbx.model.job import JobAsk, Request, RequestKind


def read_request(request_id: str, body: Mapping[str, Any], now: datetime) -> Request:
    """Understand a spool file. Never raises for its content; what is odd becomes a note.

    now: stands in for a time of arrival that is missing, absurd or still to come.
    """
    notes: list[str] = []
    nodes = _nodes(str(body.get("nodes", "")), "the argument", notes)
    jobs: tuple[JobAsk, ...] = ()
    if body.get("kind") == RequestKind.RESUME:
        listed, jobs = _resume_file(body, frozenset(nodes), notes)
        if not nodes and listed:
            notes.append("the nodes were taken from the resume file because the argument could not be read")
            nodes = listed
    plan = body.get("plan")
    return Request(
        request_id=request_id,
        kind=RequestKind(str(body.get("kind"))),
        nodes=unique_sorted(nodes),
        received_at=_time(body.get("received_at"), now, notes),
        jobs=jobs,
        notes=tuple(notes),
        plan_text=plan if isinstance(plan, str) else None,
        by_hand=body.get("by_hand") is True,
    )


def _time(value: object, now: datetime, notes: list[str]) -> datetime:
    if isinstance(value, int | float) and 0 < value < 32503680000:  # year 3000
        return min(datetime.fromtimestamp(value, UTC), now)
    notes.append("the time of the request is missing or absurd; it counts from now")
    return now


def _nodes(text: str, where: str, notes: list[str]) -> tuple[str, ...]:
    try:
        return expand(text)
    except AsbxError as error:
        notes.append(f"{where} {text[:80]!r} is not a list of nodes: {error.what}")
        return ()


def _resume_file(
    body: Mapping[str, Any], asked: frozenset[str], notes: list[str]
) -> tuple[tuple[str, ...], tuple[JobAsk, ...]]:
    """Return (nodes the file lists, its jobs)."""
    if trouble := body.get("resume_file_error"):
        notes.append(f"resume file: {trouble}; the nodes are launched without knowing their jobs")
    raw = body.get("resume_file")
    if not isinstance(raw, str):
        if not trouble and not body.get("reboot_job"):
            notes.append("no resume file was given; the nodes are launched without knowing their jobs")
        return (), ()
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        notes.append(f"the resume file is not JSON ({error}); the nodes are launched without knowing their jobs")
        return (), ()
    if not isinstance(content, dict):
        notes.append("the resume file is not an object; the nodes are launched without knowing their jobs")
        return (), ()
    listed_text = content.get("all_nodes_resume", content.get("all_nodes"))
    listed = _nodes(listed_text, "all_nodes of the resume file", notes) if isinstance(listed_text, str) else ()
    rows = content.get("jobs")
    if not isinstance(rows, list):
        notes.append("the resume file has no list of jobs; the nodes are launched without knowing their jobs")
    jobs = tuple(
        job
        for index, row in enumerate(rows if isinstance(rows, list) else [])
        if (job := _job(row, index, asked or frozenset(listed), notes)) is not None
    )
    return listed, jobs


def _job(row: object, index: int, asked: frozenset[str], notes: list[str]) -> JobAsk | None:
    job_id = row.get("job_id") if isinstance(row, dict) else None
    if not isinstance(row, dict) or not isinstance(job_id, int) or isinstance(job_id, bool) or job_id < 1:
        notes.append(f"job {index} of the resume file has no usable job_id and was passed over")
        return None
    before = len(notes)
    allocated = _nodes(str(row.get("nodes_alloc") or row.get("nodes") or ""), f"nodes of job {job_id}", notes)
    resumed = (
        _nodes(str(row["nodes_resume"]), f"nodes_resume of job {job_id}", notes)
        if row.get("nodes_resume")
        else tuple(node for node in allocated if node in asked)  # 22.05: the rest of the job is up already
    )
    if len(notes) > before:
        return None
    return JobAsk(
        job_id=job_id,
        nodes_alloc=allocated or resumed,
        nodes_resume=resumed,
        partition=_text(row, "partition"),
        features=_text(row, "features"),
        extra=_text(row, "extra"),
        reservation=_text(row, "reservation"),
        exclusive=_text(row, "exclusive"),
        oversubscribe=_text(row, "oversubscribe"),
        priority=row["priority"] if isinstance(row.get("priority"), int) else None,
    )


def _text(row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    return value if isinstance(value, str) else None
