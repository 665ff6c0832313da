"""`asbx lab demo`: an MPI job from sbatch to billing, told as it happens, and checked to the end."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from asbx.errors import AsbxError
from asbx.lab import programs
from asbx.lab.conf import clean_environment
from asbx.lab.controller import client
from asbx.lab.emulation import Control
from asbx.lab.layout import Layout
from asbx.lab.record import Record, Wishes, load
from asbx.lab.sweep import leftovers
from asbx.lab.timeline import Timeline, timeline
from asbx.lab.trouble import LabBroken
from asbx.lab.up import down, up
from asbx.lab.watch import LOST, Watch
from asbx.lab.wrappers import product_environment

NODES = 4
_NODES_OF_LAB = 8
_BOOT_S = 2.0
_LOOK_S = 0.25
# Boot, Slurm's own 30-second check for complete allocations, idle time and power-down take 60 s; the rest is patience.
_DEADLINE_S = 240.0
# Events of a demo as it should go; with accounting two processes start and end besides.
_STEPS = 28
_STEPS_ACCOUNTING = 31
# The ledger takes the time of an end itself until a pass has asked EC2 for its own.
_APART_S = Decimal(3)
_WAITING = (
    ("powering-up", "waiting for Slurm to power up nodes"),
    ("create-fleet", "waiting for CreateFleet"),
    ("running", "waiting for the nodes to boot, and for Slurm's check every 30 s that all are there"),
    ("output", "waiting for the job's output"),
    ("completed", "waiting for the job to complete"),
    ("powering-down", "waiting for the idle nodes to be powered down"),
    ("powered-down", "waiting for the power-down to end"),
    ("terminated", "waiting for the instances to end"),
)


@dataclass(frozen=True)
class Check:
    """One claim of the end check."""

    name: str
    ok: bool
    detail: str


def run_demo(layout: Layout, *, keep: bool, accounting: bool, as_json: bool) -> int:
    """Run it all; return 0 only if all of it happened and nothing is left."""
    began = time.monotonic()
    was_up = bool((known := load(layout)) and known.processes)
    story = timeline(_STEPS_ACCOUNTING if accounting else _STEPS, as_json=as_json)
    facts: dict[str, Any] = {}
    try:
        story.waiting("starting the lab")
        wishes = Wishes(nodes=_NODES_OF_LAB, boot_s=_BOOT_S, accounting=accounting)
        record, _ = up(layout, wishes, lambda text: story.event("lab", text))
        checks = _play(layout, record, story, facts)
    except AsbxError as error:
        checks = [Check(error.code, False, f"{error.what} ({error.why})" if error.why else error.what)]
    finally:
        if not (keep or was_up):
            story.waiting("ending the lab")
            down(layout, lambda text: story.event("lab", text))
    if not (keep or was_up):
        left = leftovers(layout)
        checks.append(Check("nothing-left", not left, f"{len(left)} process(es) left running"))
    story.close()
    return _summary(checks, facts, time.monotonic() - began, as_json=as_json)


def _play(layout: Layout, record: Record, story: Timeline, facts: dict[str, Any]) -> list[Check]:
    """Submit, watch, settle the bill. Raises AsbxError when the story stops."""
    folder = layout.root / "demo"
    folder.mkdir(exist_ok=True)
    program = _compile(folder, clean_environment(layout, record))
    story.event("compiled", f"compiled {program.name}.c with mpicc")
    job_id = _submit(layout, record, folder, program)
    story.event("submitted", f"sbatch -N {NODES}: job {job_id}", job=job_id)
    facts["job_id"] = job_id
    watch = Watch(layout, record, job_id, folder / f"ring-{job_id}.out")
    state = _follow(watch, story)
    instances = [row for row in Control(record.emulator_url).get("instances") if str(job_id) in row["job"].split(",")]
    ended = [row for row in instances if row["state"] == "terminated"]
    checks = [
        Check("completed", state == "COMPLETED", f"scontrol show job: {state}"),
        Check("ring", watch.has_seen("output"), "the token went round all ranks"),
        Check("launched", len(instances) == NODES, f"{len(instances)} instances launched for the job"),
        Check("terminated", len(ended) == NODES, f"{len(ended)} of them terminated"),
    ]
    if record.wishes.accounting:
        told = client(layout, record, "sacct", "-nXP", "-j", str(job_id), "-o", "State").strip()
        checks.append(Check("sacct", told == "COMPLETED", f"sacct: {told or 'nothing'}"))
    facts["calls"] = Control(record.emulator_url).get("calls")
    return checks + _bill(layout, record, job_id, instances, story, facts)


def _compile(folder: Path, environ: dict[str, str]) -> Path:
    source = folder / "ring.c"
    shutil.copyfile(Path(__file__).with_name("ring.c"), source)
    command = [str(programs.find("mpicc")), "-O1", "-o", str(folder / "ring"), str(source)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise LabBroken("demo-compile", "mpicc cannot compile the ring", done.stderr.strip()[-300:], "run `make setup`")
    return folder / "ring"


def _submit(layout: Layout, record: Record, folder: Path, program: Path) -> int:
    script = folder / "ring.sbatch"
    script.write_text(f"#!/bin/sh\nsrun --mpi=pmix {program}\n", encoding="utf-8")
    options = ["--parsable", f"--nodes={NODES}", "--ntasks-per-node=1", "--job-name=mpi-ring"]
    options += [f"--output={folder}/ring-%j.out", f"--chdir={folder}"]
    answer = client(layout, record, "sbatch", *options, str(script)).strip()
    if not answer.isdigit():
        raise LabBroken("demo-sbatch", "sbatch did not take the job", answer, f"see {layout.log / 'slurmctld.log'}")
    return int(answer)


def _follow(watch: Watch, story: Timeline) -> str:
    """Tell everything until the last node is off; return the job's last state. Raises LabBroken (`demo-stuck`)."""
    ends = time.monotonic() + _DEADLINE_S
    while True:
        sight = watch.look()
        for happening in watch.news(sight):
            story.event(happening.name, happening.text, **happening.facts)
        missing = next(((name, text) for name, text in _WAITING if not watch.has_seen(name)), None)
        if missing is None:
            return sight.job_state
        if sight.job_state in LOST:
            raise LabBroken("demo-job-lost", f"the job ended as {sight.job_state}", sight.output[-300:], "")
        if time.monotonic() > ends:
            raise LabBroken("demo-stuck", f"gave up {missing[1]}", f"after {_DEADLINE_S:g} s", "")
        story.waiting(missing[1])
        time.sleep(_LOOK_S)


def _bill(
    layout: Layout,
    record: Record,
    job_id: int,
    instances: list[dict[str, Any]],
    story: Timeline,
    facts: dict[str, Any],
) -> list[Check]:
    """Ask the product what the job cost and compare with what the emulator would bill."""
    done = subprocess.run(
        [sys.executable, "-m", "asbx", "cost", "--json"],
        env=clean_environment(layout, record) | product_environment(layout, record),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        return [Check("cost", False, f"`asbx cost --json` failed: {done.stderr.strip()[-300:]}")]
    cost: dict[str, Any] = json.loads(done.stdout)
    job = next((row for row in cost["jobs"] if str(row["job_id"]) == str(job_id)), None)
    ids = {row["id"] for row in instances}
    known = {row["id"] for row in cost["instances"]}
    usd, apart = _expected(record, instances)
    ours = sum((Decimal(row["usd"]) for row in cost["instances"] if row["id"] in ids), Decimal(0))
    if job is not None:
        story.event(
            "cost",
            f"job {job_id} cost {_usd(job['usd'])} USD (pretend prices; EC2 would bill at least 60 s)",
            usd=job["usd"],
        )
    facts["cost"] = {"job_usd": job["usd"] if job else None, "ledger_usd": str(ours), "emulator_usd": str(usd)}
    agree = ids <= known and abs(ours - usd) <= apart
    detail = f"ledger: {len(ids & known)} of {len(ids)} instances, {_usd(ours)} USD; emulator: {_usd(usd)} USD"
    return [Check("cost", job is not None, "the job is on the bill"), Check("ledger-agrees", agree, detail)]


def _expected(record: Record, instances: list[dict[str, Any]]) -> tuple[Decimal, Decimal]:
    """Return what EC2 bills for these, volumes included, and how far off that may be."""
    ids, prices = {row["id"] for row in instances}, [Decimal(row["price"]) for row in instances]
    lines = Control(record.emulator_url).get("bill")["instances"]
    usd = sum((Decimal(line["usd"]) for line in lines if line["id"] in ids), Decimal(0))
    return usd, sum(prices, Decimal(0)) * _APART_S / 3600


def _usd(amount: object) -> str:
    return re.sub(r"(\.\d{4}\d*?)0+$", r"\1", f"{Decimal(str(amount)):.6f}")


def _summary(checks: list[Check], facts: dict[str, Any], seconds: float, *, as_json: bool) -> int:
    good = all(check.ok for check in checks)
    if as_json:
        row = {"event": "summary", "ok": good, "seconds": round(seconds, 1), "checks": [asdict(c) for c in checks]}
        sys.stdout.write(json.dumps(row | facts) + "\n")
    else:
        lines = [f"  {'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}" for check in checks]
        verdict = "All of it happened and nothing is left." if good else "NOT all of it happened."
        sys.stdout.write("\n".join(["", *lines, "", f"{verdict} {seconds:.0f} s.", ""]))
    sys.stdout.flush()
    return 0 if good else 8
