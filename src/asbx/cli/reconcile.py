"""`asbx reconcile`, also `aws-slurm-burst-state-manager`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asbx.cli import reading, site
from asbx.config.limits import CONTROL_LEASE
from asbx.errors import AsbxError, ConfigError, ExitCode

if TYPE_CHECKING:
    from datetime import datetime

    from asbx.decide.reconcile import Action, Snapshot
    from asbx.flow.doors import Doors
    from asbx.flow.leftovers import Leftovers
    from asbx.flow.reconcile import Sweep

app = typer.Typer(add_completion=False, rich_markup_mode=None)

# What another worker may hold the lock for: a hook's own worker that is about to end.
_PATIENCE = timedelta(seconds=2)


@app.command()
def reconcile(
    config: site.ConfigOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what one look finds, and why.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, every `reconcile.interval_seconds`, until Ctrl-C.")
    ] = False,
    as_json: site.JsonOption = False,
) -> None:
    """Compare Slurm, EC2 and the ledger, twice with the grace between, and undo what must not last.

    Exit status 9: of a group, or of all, nothing could be judged, because Slurm and the configuration disagree.

    Example: asbx reconcile --dry-run
    """
    from asbx.daemon.compose import doors as open_doors
    from asbx.daemon.guard import admit

    settings = site.load(config).config
    if not dry_run:
        admit(settings)
    work = _Work(open_doors(settings), is_dry=dry_run, as_json=as_json)
    if watch:
        work.watch()
        return
    work.once()
    if work.sweep.doubted:
        raise typer.Exit(int(ExitCode.PARTLY))


class _Work:
    """Passes, and what is printed of them."""

    def __init__(self, doors: Doors, *, is_dry: bool, as_json: bool) -> None:
        from asbx.daemon.engine import Engine
        from asbx.flow.blocks import Blocks
        from asbx.flow.boots import Boots
        from asbx.flow.dating import Dating
        from asbx.flow.health import Health
        from asbx.flow.leftovers import Leftovers
        from asbx.flow.reconcile import Sweep

        self._doors, self._is_dry, self._as_json = doors, is_dry, as_json
        self._engine = Engine(doors)
        self.sweep: Sweep = Sweep(doors)
        self._leftovers: Leftovers = Leftovers(doors)
        self._others = (Dating(doors), Boots(doors), Health(doors), Blocks(doors))

    @contextmanager
    def lock(self, patience: timedelta = _PATIENCE) -> Iterator[None]:
        """Keep the daemon out while something is done. Raises ConfigError where it is at work."""
        from asbx.daemon import post
        from asbx.daemon.lock import worker_lock
        from asbx.daemon.lost import refuse_lost

        if self._is_dry:
            yield
            return
        with worker_lock(self._doors.config.paths.runtime, patience) as held:
            if not held:
                raise ConfigError(
                    "daemon-running",
                    "the daemon does this every minute by itself",
                    "it holds the worker lock",
                    "use --dry-run to see what it finds",
                )
            with post.held(self._doors, CONTROL_LEASE * 2):
                refuse_lost(self._doors)
                yield

    def once(self) -> None:
        """Do one pass with both its looks, or list what one look finds."""
        with self.lock():
            look = self._look()
            if self._is_dry:
                self._show((*self.sweep.findings(look), *self._leftovers.look()), look)
                return
            wait = self.sweep.first_look(look)
            if not wait:
                self._do(look)
                return
        # Without the lock: the hooks' workers serve Slurm meanwhile. What needs longer is for the daemon or --watch,
        # which remember.
        most = timedelta(seconds=self._doors.config.reconcile.orphan_grace_seconds)
        self._doors.clock.sleep(min(wait, most))
        with self.lock(self._doors.config.resume_deadline):
            self._do(self._look())

    def _do(self, look: Snapshot) -> None:
        """Do what is due and the rest; what was done is shown, also where a part of the rest could not be."""
        actions = self.sweep.act(look)
        rest, trouble = self._rest()
        self._show((*actions, *rest), look)
        if trouble is not None:
            raise trouble

    def watch(self) -> None:
        """Do a pass every interval until Ctrl-C; one in which a side does not answer is said, and is not the last."""
        pause = timedelta(seconds=self._doors.config.reconcile.interval_seconds)
        passes = 0
        try:
            with self.lock():
                while True:
                    self._pass()
                    passes += 1
                    self._rest_until(self._doors.clock.now() + pause)
        except KeyboardInterrupt:
            if not self._as_json:
                typer.echo(f"stopped after {passes} pass(es)")

    def _pass(self) -> None:
        try:
            look = self._look()
            found = self.sweep.findings(look) if self._is_dry else self.sweep.act(look)
            rest, trouble = (self._leftovers.look(), None) if self._is_dry else self._rest()
        except AsbxError as error:
            self._skipped(error)
            return
        self._show((*found, *rest), look)
        if trouble is not None:
            self._skipped(trouble)

    def _skipped(self, error: AsbxError) -> None:
        if self._as_json:
            site.show({"error": error.as_dict()})
        else:
            typer.echo(f"{reading.time_shown(self._doors.clock.now())}  skipped: {error}")

    def _rest_until(self, moment: datetime) -> None:
        """Wait; a terminal sees how long."""
        is_terminal = sys.stderr.isatty() and not self._as_json
        while (left := moment - self._doors.clock.now()) > timedelta(0):
            if is_terminal:
                typer.echo(f"\rnext look in {left.total_seconds():.0f} s ", nl=False, err=True)
            self._doors.clock.sleep(min(left, timedelta(seconds=1)) if is_terminal else left)
        if is_terminal:
            typer.echo("\r" + " " * 30 + "\r", nl=False, err=True)

    def _look(self) -> Snapshot:
        """Take a look; what open requests work on is not judged.

        Nobody else takes in what lies in the spool while we hold the lock: those requests are not lost, they wait.
        """
        if not self._is_dry:
            self._engine.intake()
        requests = self._doors.ledger.open_requests()
        nodes = {node for request in requests for node in request.nodes}
        intents = {i.intent_id for r in requests for i in self._doors.ledger.intents(r.request_id)}
        return self.sweep.look(nodes, intents)

    def _rest(self) -> tuple[tuple[Action, ...], AsbxError | None]:
        """Do what else the daemon's pass does, as far as it can be; return what was done and the first trouble."""
        done: tuple[Action, ...] = ()
        troubles: list[AsbxError] = []
        try:
            done = self._leftovers.run()
        except AsbxError as error:
            troubles.append(error)
        for part in self._others:
            try:
                part.run()
            except AsbxError as error:
                troubles.append(error)
        return done, next(iter(troubles), None)

    # -- what is printed

    def _show(self, actions: Sequence[Action], look: Snapshot) -> None:
        doubted = self.sweep.doubted
        if self._as_json:
            site.show(
                {
                    "actions": [self._facts(action) for action in actions],
                    "doubts": [{"group": str(one.group or ""), "reason": one.reason} for one in doubted],
                    "snapshot": {
                        "taken_at": look.taken_at.isoformat(),
                        "instances": len(look.owned),
                        "nodes": len(look.nodes),
                        "bindings": len(look.bindings),
                    },
                }
            )
            return
        for doubt in doubted:
            site.warn(f"half a picture: {doubt.reason}")
        for action in actions:
            typer.echo(self._line(action))
        seen = f"{len(look.owned)} instance(s), {len(look.nodes)} node(s) looked at"
        typer.echo(f"{reading.time_shown(look.taken_at)}  {len(actions)} action(s); {seen}")

    def _line(self, action: Action) -> str:
        verb = "would" if self._is_dry else "did"
        grace = self.sweep.patience.of(action.grace)
        after = f", if it lasts {grace.total_seconds():.0f} s" if self._is_dry and grace else ""
        return f"{verb} {action.kind} {action.target}: {action.reason} [{action.rule}]{after}"

    def _facts(self, action: Action) -> dict[str, Any]:
        return {
            "kind": action.kind.value,
            "target": action.target,
            "reason": action.reason,
            "rule": action.rule,
            "node": action.node,
            "grace_seconds": self.sweep.patience.of(action.grace).total_seconds(),
        }
