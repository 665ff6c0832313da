"""The rungs of a launch: what to ask EC2 for first, and what next when that is not to be had.

A rung is everything one CreateFleet may draw from: the pools (type x subnet) of one market, placed or not, with EFA or
not, or one capacity reservation. The ladder asks for all of a rung's pools at once, under SingleAvailabilityZone and
SingleInstanceType where the gang must be together, and leaves out what was refused from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from asbx.config.limits import RESERVATION_LIFE
from asbx.config.schema import NodeGroup
from asbx.decide import place
from asbx.decide.narrow import not_followed, pools_of
from asbx.decide.preflight import (
    Dropped,
    Known,
    in_zone,
    refusal_of_market,
    refusal_of_pool,
    refusal_of_subnet,
)
from asbx.decide.shortage_key import pool_keys
from asbx.decide.spot_price import capped, cheapest_on_demand, refusal_of_price
from asbx.decide.unrest import CALM, Unrest
from asbx.decide.wish import Wish
from asbx.model.catalogue import ReservationFacts, TemplateChange, TypeFacts
from asbx.model.market import Market, Pool, Template, Verdict
from asbx.model.plan import ExecutionPlan

# EC2's own prefix for families built for tightly coupled jobs (EC2 instance types, "HPC optimized").
_HPC = "hpc"


@dataclass(frozen=True)
class Rung:
    """One CreateFleet's worth of choice.

    key: names it within its ladder. changes: type -> what its instances need a derived launch template for.
    placement: strategy of the placement group it launches into, "" for none; group_name: an existing group.
    """

    key: str
    market: Market
    pools: tuple[Pool, ...]
    template: Template
    strategy: str = ""
    single_zone: bool = False
    single_type: bool = False
    placement: str = ""
    group_name: str = ""
    reservation: str = ""
    open_reservations: bool = False
    changes: tuple[tuple[str, TemplateChange], ...] = ()

    def keys(self, pool: Pool) -> tuple[str, ...]:
        """Return the keys under which a pool of this rung may be short."""
        own = (reservation_key(self.reservation),) if self.reservation else ()
        return (*own, *pool_keys(self.market, pool, placed=bool(self.placement), reserved=bool(self.reservation)))

    def change(self, instance_type: str) -> TemplateChange | None:
        """Return what instances of a type need a derived template for, or None."""
        return next((change for name, change in self.changes if name == instance_type), None)

    def efa(self, instance_type: str) -> int | None:
        """Return how many EFA devices an instance of a type must show; None where the base template decides."""
        change = self.change(instance_type)
        return place.efa_devices(change.interfaces) if change is not None and change.interfaces else None

    def __str__(self) -> str:
        """Return it as a person reads it."""
        kinds = ", ".join(dict.fromkeys(pool.instance_type for pool in self.pools))
        zones = ", ".join(dict.fromkeys(pool.zone or pool.subnet_id for pool in self.pools))
        where = f" in a {self.placement} placement group" if self.placement else ""
        source = f"reservation {self.reservation}" if self.reservation else self.market.value
        is_made = any(place.efa_devices(change.interfaces) for _, change in self.changes)
        efa = " with EFA" if is_made or "+efa" in self.key else ""
        return f"{source}: {kinds}{efa} in {zones}{where}"


def reservation_key(reservation: str) -> str:
    """Return the key under which a gang remembers that a reservation had no room for it."""
    return f"reservation/{reservation}"


@dataclass(frozen=True)
class Choice:
    """Rungs in order, what was dropped before EC2 was asked, and a sentence for every wish not taken as it stands.

    fingerprint: of the launch template's content, which names templates derived from it. weighed: what moved spot pools
    within their order.
    """

    rungs: tuple[Rung, ...]
    dropped: tuple[Dropped, ...] = ()
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    weighed: tuple[str, ...] = ()

    @property
    def considered(self) -> tuple[str, ...]:
        """Return what was considered, as the ledger keeps it."""
        kept = [f"rung {number}: {rung}" for number, rung in enumerate(self.rungs, 1)]
        return (*kept, *(f"weighed {one}" for one in self.weighed), *(f"dropped {one}" for one in self.dropped))


def choose(
    group: NodeGroup, want: Wish, plan: ExecutionPlan | None, known: Known, count: int, *, now: datetime | None = None
) -> Choice:
    """Return the rungs of a node group for so many nodes, narrowed by a plan and by what is known (never widened).

    now: for the windows of Capacity Blocks. Raises PlanError (`plan-refused`) for a plan that asks for more than the
    site allows.
    """
    return _Chooser(group, want, plan, known, count, now).choice()


class _Chooser:
    """One choice in the making."""

    def __init__(
        self, group: NodeGroup, want: Wish, plan: ExecutionPlan | None, known: Known, count: int, now: datetime | None
    ) -> None:
        self._group, self._want, self._plan, self._known, self._count = group, want, plan, known, count
        self._now = now
        # Loose nodes take what there is: one instance must be possible, not all of them.
        self._least = count if want.whole else 1
        self._dropped: dict[str, Dropped] = {}
        self._notes: list[str] = list(want.notes)
        spec = group.launch_template_specification
        stated = Template(spec.launch_template_id, spec.launch_template_name, spec.version)
        self._template = known.template.fixed if known.template is not None else stated
        self._layouts: dict[tuple[str, bool], tuple[TemplateChange | None, int]] = {}
        self._weighed: dict[str, None] = {}
        self._cheapest: Decimal | None = None
        kinds = dict.fromkeys(override.instance_type for override in group.launch_template_overrides)
        self._places = {kind: place for place, kind in enumerate(kinds)}

    def choice(self) -> Choice:
        if self._known.has_no_template:
            named = self._template.template_id or self._template.name
            why = f"version {self._template.version} does not exist"
            self._drop(Dropped(f"launch template {named}", why, "template-missing", Verdict.NOT_FOUND, False))
            return self._result(())
        pools = self._possible()
        self._cheapest = self._cheapest_otherwise()
        rungs = [*self._reserved(pools)]
        if not self._group.reservations_only:
            rungs += self._bought(pools)
        if self._plan is not None:
            self._notes += not_followed(self._plan)
        return self._result(tuple(rung for rung in rungs if rung.pools))

    def _result(self, rungs: tuple[Rung, ...]) -> Choice:
        base = self._known.template
        notes = tuple(dict.fromkeys(self._notes))
        fingerprint = base.fingerprint if base else ""
        return Choice(rungs, tuple(self._dropped.values()), notes, fingerprint, tuple(self._weighed))

    def _drop(self, dropped: Dropped | None) -> bool:
        """Note why a pool is dropped; return whether it is."""
        if dropped is not None:
            self._dropped.setdefault(str(dropped), dropped)
        return dropped is not None

    def _possible(self) -> list[Pool]:
        """Return the pools that could launch at all."""
        pools = [in_zone(pool, self._known) for pool in pools_of(self._group, self._plan, self._known, self._notes)]
        return [pool for pool in pools if not self._drop(refusal_of_pool(pool, self._known))]

    # -- what is bought as it is needed

    def _bought(self, pools: Sequence[Pool]) -> list[Rung]:
        """Return rungs by falling preference: EFA before none, in a group before outside, market by market."""
        return [
            rung
            for efa in self._efa_tiers()
            for placed in ((True, False) if self._want.placement else (False,))
            for market in self._want.markets
            for rung in self._rungs(pools, market, efa=efa, placed=placed)
        ]

    def _efa_tiers(self) -> tuple[bool | None, ...]:
        """Return whether types must have EFA (True), must not use it (False), or use it where they have it (None)."""
        return {"required": (True,), "preferred": (True, False), "optional": (None,), "disabled": (False,)}[
            self._want.efa
        ]

    def _rungs(self, pools: Sequence[Pool], market: Market, *, efa: bool | None, placed: bool) -> list[Rung]:
        kept = [pool for pool in pools if self._fits(pool, market, efa=efa, placed=placed)]
        if market is Market.SPOT:
            kept = self._affordable(kept)
        # Half a price list would rank the unpriced pools by nothing: then the file's order counts.
        priced = all((pool.instance_type, pool.zone, market) in self._known.prices for pool in kept)
        kept = sorted(kept, key=lambda pool: self._rank(pool, market, priced=priced))
        name = "+".join([market.value, *(["efa"] if efa else []), *([self._want.placement] if placed else [])])
        return [
            rung
            for key, some in self._calm_first(name, kept, market)
            for rung in self._made(key, some, market, efa=efa, placed=placed)
        ]

    def _made(self, name: str, kept: list[Pool], market: Market, *, efa: bool | None, placed: bool) -> list[Rung]:
        alike = [kept] if self._want.one_type or not self._want.together else self._alike(kept)
        sets = [members for pools_alike in alike for members in _one_subnet_a_zone(pools_alike)]
        return [
            Rung(
                key=name if number == 0 else f"{name}#{number + 1}",
                market=market,
                pools=tuple(members),
                template=self._template,
                strategy=_strategy(self._group, market),
                single_zone=self._want.together,
                single_type=self._want.one_type,
                placement=self._want.placement if placed else "",
                group_name=self._want.group_name if placed else "",
                # A reservation made outside a group leaves launches into one short (aws-parallelcluster #4215).
                open_reservations=self._group.open_reservations and market is Market.ON_DEMAND and not placed,
                changes=self._changes(members, efa=efa),
            )
            for number, members in enumerate(sets)
        ]

    # -- what spot costs, and how often it is taken back

    def _cheapest_otherwise(self) -> Decimal | None:
        """Return what the cheapest on-demand instance of the group costs, where spot must not cost more.

        It is the site's rule: neither a plan's types nor a job's market move it.
        """
        if self._group.purchasing_option != "mixed" or not self._group.market.spot_below_on_demand:
            return None
        pools = [in_zone(pool, self._known) for pool in pools_of(self._group, None, self._known, [])]
        sold = [
            pool
            for pool in pools
            if refusal_of_pool(pool, self._known) is None
            and refusal_of_market(pool, Market.ON_DEMAND, self._least, self._known) is None
        ]
        return cheapest_on_demand(sold, self._known)

    def _affordable(self, pools: Sequence[Pool]) -> list[Pool]:
        """Return spot pools with their limits, without those that are too dear."""
        kept = []
        for pool in pools:
            limited = capped(pool, self._group.market, self._known)
            if isinstance(limited, Dropped):
                self._drop(limited)
            elif not self._drop(refusal_of_price(limited, self._known, self._cheapest)):
                kept.append(limited)
        return kept

    def _unrest(self, pool: Pool, market: Market) -> Unrest:
        is_heard = market is Market.SPOT and self._group.market.interruption_history
        return self._known.unrest.get((pool.instance_type, pool.zone), CALM) if is_heard else CALM

    def _calm_first(self, name: str, pools: Sequence[Pool], market: Market) -> list[tuple[str, list[Pool]]]:
        """Return key and pools of one rung, or of two: EC2 does not hear our order within a price-optimized one."""
        restless = [pool for pool in pools if self._unrest(pool, market).is_restless]
        calm = [pool for pool in pools if pool not in restless]
        return [(name, calm), (f"{name}+restless", restless)] if calm and restless else [(name, list(pools))]

    def _fits(self, pool: Pool, market: Market, *, efa: bool | None, placed: bool) -> bool:
        facts = self._known.types.get(pool.instance_type)
        if not self._fits_efa(pool, facts, efa) or not self._fits_group(pool, facts, placed=placed):
            return False
        change, addresses = self._layout(pool.instance_type, efa=efa)
        del change
        return not (
            self._drop(refusal_of_market(pool, market, self._least, self._known))
            or self._drop(refusal_of_subnet(pool, addresses * self._least, self._known))
        )

    def _fits_efa(self, pool: Pool, facts: TypeFacts | None, efa: bool | None) -> bool:
        """Whether a pool belongs to an EFA tier. A type nothing is known of is taken for one without EFA."""
        has_efa = bool(facts and facts.efa) and not self._known.unruly
        if efa is True and not has_efa:
            if self._want.efa == "required":
                self._drop(self._refusal_of_efa(pool.instance_type, facts))
            return False
        if efa is None or efa or self._want.efa != "preferred":
            return True
        return not has_efa  # those with EFA have had their turn on a rung before

    def _refusal_of_efa(self, name: str, facts: TypeFacts | None) -> Dropped:
        """Return why a type cannot launch with EFA. What EC2 does not tell it may tell later: no hold."""
        if facts is None:
            why = "EC2 does not tell whether the type has EFA, which is required"
            return Dropped(name, why, "efa-unknown", is_hopeless=False)
        groups = ", ".join(self._known.unruly)
        rule = f"security group {groups} must allow all traffic to and from itself, which EFA needs"
        why = rule if facts.efa else "the type has no EFA, which is required"
        return Dropped(name, why, "efa-impossible", Verdict.INVALID)

    def _fits_group(self, pool: Pool, facts: TypeFacts | None, *, placed: bool) -> bool:
        """Whether a pool may launch into the placement group (placed), or belongs outside of it."""
        wanted = self._want.placement
        if not wanted:
            return True
        fits = facts is None or not facts.placement or wanted in facts.placement
        if placed and not fits and self._want.placed_only:
            why = f"the type cannot be in a {wanted} placement group, which the site demands"
            self._drop(Dropped(pool.instance_type, why, "placement-impossible", Verdict.INVALID))
        if placed:
            return fits
        return not self._want.placed_only and (self._want.placement_fallback or not fits)

    def _rank(self, pool: Pool, market: Market, *, priced: bool) -> tuple[int, int, Decimal, int, int]:
        """Return what orders pools: lately refused last, HPC families first for large gangs, price, score, the file.

        A spot price counts with what interruptions there weigh (decide/unrest).
        """
        trouble = max((self._known.trouble.get(key, 0) for key in pool_keys(market, pool, placed=False)[:1]), default=0)
        price = self._known.prices[pool.instance_type, pool.zone, market] if priced else Decimal(1)
        unrest = self._unrest(pool, market)
        if unrest.count:
            counted = f", so that {price:f} USD/h counts as {unrest.counted(price).normalize():f}" if priced else ""
            self._weighed[f"{pool.instance_type} as {market} in {pool.zone}: {unrest}{counted}"] = None
        is_hpc = self._want.efa in ("required", "preferred") and pool.instance_type.startswith(_HPC)
        score = self._known.scores.get(pool.zone, 0) if market is Market.SPOT else 0
        return trouble, 0 if is_hpc else 1, unrest.counted(price), -score, self._places[pool.instance_type]

    def _alike(self, pools: Sequence[Pool]) -> list[list[Pool]]:
        """Return sets of pools whose types have equal cores and memory, for gangs of mixed types."""
        sets: dict[object, list[Pool]] = {}
        for pool in pools:
            facts = self._known.types.get(pool.instance_type)
            kind: object = (facts.cores, facts.vcpus, facts.memory_mib) if facts else pool.instance_type
            sets.setdefault(kind, []).append(pool)
        return list(sets.values()) or [[]]

    # -- launch templates

    def _changes(self, pools: Sequence[Pool], *, efa: bool | None) -> tuple[tuple[str, TemplateChange], ...]:
        kinds = dict.fromkeys(pool.instance_type for pool in pools)
        found = [(kind, self._layout(kind, efa=efa)[0]) for kind in kinds]
        return tuple((kind, change) for kind, change in found if change is not None)

    def _layout(self, kind: str, *, efa: bool | None) -> tuple[TemplateChange | None, int]:
        """Return (what the template must change for a type, addresses one instance takes)."""
        wants = efa is not False
        if (kind, wants) not in self._layouts:
            self._layouts[kind, wants] = self._make_layout(kind, wants=wants)
        return self._layouts[kind, wants]

    def _make_layout(self, kind: str, *, wants: bool) -> tuple[TemplateChange | None, int]:
        base, facts = self._known.template, self._known.types.get(kind)
        has_efa = wants and facts is not None and facts.efa > 0 and not self._known.unruly
        groups = (base.groups if base else ()) or self._group.security_group_ids
        if has_efa and facts is not None:
            specs = place.efa_layout(facts, groups, self._group.efa_interfaces)
        else:
            specs = place.plain_layout(base) if base else ()
        there = base.interfaces if base else ()
        if not specs or _shape(specs) == _shape(there):
            return None, place.addresses(specs or there)
        if base is not None:
            specs = place.with_public_address(specs, base)
        return TemplateChange(interfaces=specs), place.addresses(specs)

    # -- reservations

    def _reserved(self, pools: Sequence[Pool]) -> list[Rung]:
        rungs = []
        for wanted in self._group.capacity_reservations:
            facts = self._known.reservations.get(wanted)
            if self._drop(self._refusal_of_reservation(wanted, facts)) or facts is None:
                continue
            inside = [p for p in pools if (p.instance_type, p.zone) == (facts.instance_type, facts.zone)]
            if not inside:
                why = f"it is for {facts.instance_type} in {facts.zone}, which this group may not launch"
                self._drop(Dropped(f"reservation {wanted}", why, "reservation-elsewhere", Verdict.NOT_FOUND))
                continue
            rungs.append(self._reservation_rung(facts, inside[:1]))
        return rungs

    def _reservation_rung(self, facts: ReservationFacts, pools: list[Pool]) -> Rung:
        """Return a rung that targets a reservation: in its own placement group, and in none of ours.

        A group the reservation was not made in leaves launches short (aws-parallelcluster #4215, eksctl #7949).
        """
        efa = None if self._want.efa in ("required", "preferred", "optional") else False
        change, _ = self._layout(facts.instance_type, efa=efa)
        change = replace(change or TemplateChange(), reservation=facts.reservation_id, is_block=facts.is_block)
        return Rung(
            key=f"reservation {facts.reservation_id}",
            market=Market.CAPACITY_BLOCK if facts.is_block else Market.ON_DEMAND,
            pools=tuple(pools),
            template=self._template,
            single_zone=self._want.together,
            single_type=True,
            placement=self._want.placement if facts.placement_group else "",
            group_name=facts.placement_group,
            reservation=facts.reservation_id,
            changes=((facts.instance_type, change),),
        )

    def _refusal_of_reservation(self, wanted: str, facts: ReservationFacts | None) -> Dropped | None:
        what = f"reservation {wanted}"
        if facts is None:
            return Dropped(what, "EC2 does not tell of it", "reservation-unknown", Verdict.NOT_FOUND, is_hopeless=False)
        outside = _outside(facts, self._now, self._known.block_early)
        if outside:
            return Dropped(what, outside, "reservation-closed", Verdict.CAPACITY, is_hopeless=False)
        available = facts.total if _has_just_begun(facts, self._now) else facts.available
        if available < self._least:
            why = f"{available} of its {facts.total} places are free and {self._least} are needed"
            return Dropped(what, why, "reservation-full", Verdict.CAPACITY, self._least > facts.total)
        return None


def _outside(facts: ReservationFacts, now: datetime | None, early: timedelta) -> str:
    """Return why nothing may be launched into a reservation now, "" if it may."""
    if facts.starts is not None and now is not None and now < facts.starts:
        return f"it begins at {facts.starts:%Y-%m-%d %H:%M} UTC"
    if facts.is_block and facts.ends is not None and now is not None and now >= facts.ends - early:
        return f"it ends at {facts.ends:%Y-%m-%d %H:%M} UTC, and its nodes are drained before"
    return "" if facts.is_active or _has_just_begun(facts, now) else "it is not active"


def _has_just_begun(facts: ReservationFacts, now: datetime | None) -> bool:
    """Whether what EC2 tells may be from before a block's beginning, so that only a launch can find out.

    A job that waited for the beginning starts with it, and would lose its turn over an answer that is seconds old.
    """
    if facts.is_active or not facts.is_block or facts.starts is None or now is None:
        return False
    return timedelta(0) <= now - facts.starts < RESERVATION_LIFE


def _shape(specs: Sequence[object]) -> list[tuple[int, int, str]]:
    return sorted((spec.card, spec.device, spec.kind) for spec in specs)  # type: ignore[attr-defined]


def _one_subnet_a_zone(pools: Sequence[Pool]) -> list[list[Pool]]:
    """Return sets of pools with one subnet in each zone: EC2 takes no more in a fleet, and a gang is in one subnet.

    It refuses the others as duplicate instance pools (aws-plugin-for-slurm, README of plugin-v2).
    """
    subnets: dict[str, list[str]] = {}
    sets: dict[int, list[Pool]] = {}
    for pool in pools:
        beside = subnets.setdefault(pool.zone or pool.subnet_id, [])
        if pool.subnet_id not in beside:
            beside.append(pool.subnet_id)
        sets.setdefault(beside.index(pool.subnet_id), []).append(pool)
    return [sets[number] for number in sorted(sets)]


def _strategy(group: NodeGroup, market: Market) -> str:
    options = group.spot_options if market is Market.SPOT else group.on_demand_options
    return str(options.get("AllocationStrategy", ""))
