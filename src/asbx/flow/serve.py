"""From launched gangs to nodes Slurm can reach: looked at, paired, written down, told to Slurm, told their names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from asbx.config.limits import TAG_PARALLEL, TOPOLOGY_MOST
from asbx.decide import bind as naming
from asbx.errors import ExitCode, SlurmError
from asbx.flow import bind
from asbx.flow.arrivals import Arrival
from asbx.flow.doors import Doors
from asbx.flow.giving import give_back
from asbx.flow.outcome import Failure
from asbx.flow.run import GangRun
from asbx.flow.verify import apart, network, seen_again, wrong
from asbx.model.market import Instance

Loss = tuple[GangRun, Failure, tuple[str, ...]]


@dataclass
class Served:
    """pairs: nodes that serve now. lost: gangs, why, and which of their nodes do not."""

    pairs: list[naming.Pair] = field(default_factory=list)
    lost: list[Loss] = field(default_factory=list)


class Server:
    """Makes nodes of instances. jobs_of: node -> jobs that wait for it."""

    def __init__(self, doors: Doors, jobs_of: Mapping[str, tuple[int, ...]]) -> None:
        self._doors, self._jobs_of = doors, jobs_of

    def serve(self, arrivals: Sequence[Arrival]) -> Served:
        """Serve the gangs that have come up in one `scontrol update` and one tag call for each reservation.

        Raises LedgerError; what else goes wrong is in the answer.
        """
        served = Served()
        runs = [arrival.run for arrival in arrivals if arrival.run is not None]
        ready = {one: instance for arrival in arrivals for one, instance in arrival.ready.items()}
        pairs = [row for run in runs for row in self._pairs(run, ready, served)]
        if not pairs:
            return served
        names_of = {node: names for run in runs for names in [run.names] for node in run.nodes}
        # Both at once: a crash between them is healed by the next run, which pairs the same instances the same way.
        with self._doors.workers.pool(1, "pairs") as beside:
            written = beside.submit(bind.into_ledger, self._doors, pairs, self._jobs_of, names_of)
            served.pairs = self._into_slurm(runs, pairs, written.result, served)
        return served

    # -- gang by gang

    def _pairs(self, run: GangRun, ready: Mapping[str, Instance], served: Served) -> list[naming.Pair]:
        """Pair a gang's nodes with its instances that came up as ordered; the rest is given back and failed."""
        good, why = self._as_ordered(run, ready)
        lost = [i.instance_id for i in run.launched if i.instance_id not in good and i.instance_id not in run.gone]
        ours = self._doors.about(**run.names)
        give_back(ours, lost, why or "it died or got no address", run.gang.gang_id)
        run.gone.update(lost)
        good = self._best(run, good)
        pairs = run.pairs(good, self._ranks(run, good))
        bound = {node for node, _ in pairs}
        short = tuple(node for node in run.nodes if node not in bound)
        if not short:
            return pairs
        if run.whole:
            served.lost.append((run, Failure("short", why or "not all instances of the gang came up"), run.nodes))
            return []
        served.lost.append((run, run.why_short(), short))
        return pairs

    def _as_ordered(self, run: GangRun, ready: Mapping[str, Instance]) -> tuple[dict[str, Instance], str]:
        """Return the instances that are as ordered, and what is wrong with the first that is not.

        What is not is given back, so it must be seen on two looks: EC2 may show a fresh instance incompletely.
        """
        good, why = _look(run, ready)
        if not why:
            return good, why
        first = {one: ready[one] for one in run.expected() if one in ready}
        second = seen_again(self._doors, first)
        return _look(run, {one: instance for one, instance in second.items() if instance.state.is_alive})

    def _best(self, run: GangRun, good: dict[str, Instance]) -> dict[str, Instance]:
        """Of more instances than nodes keep the best connected, and give the others back."""
        wanted = len(run.nodes)
        if len(good) <= wanted or len(run.slices) > 1:
            return good
        kept = naming.best_connected(list(good.values()), wanted, network(self._doors, good))
        best = {instance.instance_id: instance for instance in kept}
        spare = [one for one in good if one not in best]
        why = "extra ones the job asked for; the others are connected better"
        give_back(self._doors.about(**run.names), spare, why, run.gang.gang_id, level="info")
        run.gone.update(spare)
        return best

    def _ranks(self, run: GangRun, good: Mapping[str, Instance]) -> dict[str, tuple[str, ...]]:
        """Return where a gang's instances are in the network, where that shall order its nodes."""
        has_efa = any(instance.efa for instance in good.values())
        asked = self._doors.config.mpi.topology_order
        is_wanted = asked == "always" or (asked == "auto" and has_efa)
        if not (run.aim.together and is_wanted and 2 < len(good) <= TOPOLOGY_MOST):
            return {}
        ranks = network(self._doors, good)
        # An order that folds badly would cost a tag call for each node: then the launch order stands.
        calls = naming.naming(run.pairs(good, ranks)) if ranks else ()
        return ranks if len(calls) <= max(TAG_PARALLEL, len(good) // 16) else {}

    # -- all at once

    def _into_slurm(
        self, runs: Sequence[GangRun], pairs: Sequence[naming.Pair], written: Callable[[], None], served: Served
    ) -> list[naming.Pair]:
        """Make the nodes reachable and tell them their names; return the pairs that stay.

        Whoever Slurm does not take, or cannot be told its name, is given back, with its whole gang where it has one.
        written: waits for the ledger, without whose word no node is told its name.
        """
        try:
            ordered = sorted(pairs, key=lambda row: naming.by_number(row[0]))
            refused = bind.into_slurm(self._doors, ordered)
            lost = {node: Failure("slurm-refused", why, ExitCode.SLURM) for node, why in refused.items()}
        except SlurmError as error:
            lost = dict.fromkeys([node for node, _ in pairs], Failure.of_error(error))
        written()
        kept = _without(runs, pairs, lost)
        unnamed = bind.name_them(self._doors, naming.naming(kept))
        lost |= {node: Failure.of_error(unnamed[i.instance_id]) for node, i in kept if i.instance_id in unnamed}
        kept = _without(runs, kept, lost)
        for run in runs:
            mine = tuple(node for node in run.nodes if node in lost)
            if mine:
                served.lost.append((run, lost[mine[0]], run.nodes if run.whole else mine))
        return kept


def _without(runs: Sequence[GangRun], pairs: Sequence[naming.Pair], lost: Collection[str]) -> list[naming.Pair]:
    """Leave out lost nodes, and with one of a whole gang all of it."""
    out = set(lost)
    for run in runs:
        if run.whole and not out.isdisjoint(run.nodes):
            out.update(run.nodes)
    return [row for row in pairs if row[0] not in out]


def _look(run: GangRun, ready: Mapping[str, Instance]) -> tuple[dict[str, Instance], str]:
    """Return the instances that are as ordered on this look alone, and what is wrong with the first that is not."""
    good: dict[str, Instance] = {}
    why = ""
    for instance_id, (order, rung) in run.expected().items():
        instance = ready.get(instance_id)
        if instance is None or instance_id in run.gone:
            continue
        fault = wrong(instance, order, rung)
        if fault:
            why = why or f"{instance_id} is not as ordered: {fault}"
        else:
            good[instance_id] = instance
    if run.aim.together and not why and (fault := apart(list(good.values()), one_type=False)):
        return {}, fault
    return good, why
