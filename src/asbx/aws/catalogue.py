"""The door to what EC2 says about what it sells and what the site has there: read, kept for a while, never raising."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from botocore import xform_name

from asbx.aws import facts
from asbx.aws.client import client, translated
from asbx.aws.requests import template_named
from asbx.aws.shelf import Shelf
from asbx.config import limits
from asbx.config.schema import Aws
from asbx.model.catalogue import ReservationFacts, SubnetFacts, TemplateFacts, TypeFacts
from asbx.model.market import Market, Template, Verdict
from asbx.ports import Clock, CloudError

_Scored = tuple[tuple[str, ...], int]


class Ec2Catalogue:
    """The Catalogue port over boto3. troubles: the last error by AWS action, for those whose last call failed."""

    def __init__(self, settings: Aws, clock: Clock) -> None:
        self.troubles: dict[str, str] = {}
        self._settings = settings
        self._clock = clock
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        many = limits.FACTS_BATCH
        self._types = Shelf(clock, limits.TYPES_LIFE, self._ask_types, limits.TYPES_BATCH)
        self._zones = Shelf(clock, limits.TYPES_LIFE, self._ask_zones, limits.TYPES_BATCH)
        self._subnets = Shelf(clock, limits.SUBNET_LIFE, self._ask_subnets, many)
        self._templates = Shelf(clock, limits.TEMPLATE_LIFE, self._ask_template)
        self._images = Shelf(clock, limits.IMAGE_LIFE, self._ask_image)
        self._quotas = Shelf(clock, limits.QUOTA_LIFE, self._ask_quota)
        self._reservations = Shelf(
            clock, limits.RESERVATION_LIFE, self._ask_reservations, many, lambda fact: (fact.starts, fact.ends)
        )
        self._self_rules = Shelf(clock, limits.SELF_RULE_LIFE, self._ask_self_rules, many)
        self._scores = Shelf(clock, limits.SPOT_SCORE_LIFE, self._ask_scores)
        self._wanted_scores: dict[_Scored, datetime] = {}
        self._scored: datetime | None = None

    # -- the door

    def types(self, names: Iterable[str]) -> dict[str, TypeFacts]:
        """Return facts by type."""
        return self._types.find(names)

    def zones(self, names: Iterable[str]) -> dict[str, frozenset[str]]:
        """Return the zones that offer each type."""
        return self._zones.find(names)

    def subnets(self, ids: Iterable[str]) -> dict[str, SubnetFacts]:
        """Return facts by subnet id."""
        return self._subnets.find(ids)

    def template(self, template: Template) -> TemplateFacts | None:
        """Return what a launch template version says, with its image's architecture where that can be learned."""
        found = self._templates.find([template]).get(template)
        if found is None or not found.image_id.startswith("ami-"):
            return found  # `resolve:ssm:` names an image only when an instance is launched
        return replace(found, arch=self._images.find([found.image_id]).get(found.image_id, ""))

    def missing_template(self, template: Template) -> bool:
        """Whether EC2 said that it does not exist."""
        return self._templates.is_absent(template)

    def quota(self, market: Market, instance_type: str) -> int | None:
        """Return the account's quota of vCPUs; another service with another permission, often not to be had."""
        code = facts.quota_code(market, instance_type)
        return self._quotas.find([code]).get(code) if code else None

    def reservations(self, ids: Iterable[str]) -> dict[str, ReservationFacts]:
        """Return facts by id. Groups of reservations, which templates may target too, are not told."""
        return self._reservations.find(name for name in ids if name.startswith("cr-"))

    def missing_reservation(self, reservation: str) -> bool:
        """Whether EC2 said that it does not exist; it forgets those that ended a while ago."""
        return self._reservations.is_absent(reservation)

    def without_self_rule(self, groups: Iterable[str]) -> tuple[str, ...]:
        """Return which security groups lack the rules that EFA needs."""
        return tuple(name for name, is_open in self._self_rules.find(groups).items() if not is_open)

    def spot_scores(self, instance_types: Sequence[str], count: int) -> dict[str, int]:
        """Return zone -> score as last told, for the zones of the subnets that were asked for before.

        Sizes are rounded up to powers of two: each other one is a new configuration, of which there are few a day.
        """
        names = tuple(sorted(set(instance_types)))
        if len(names) < limits.SPOT_SCORE_TYPES:
            return {}
        wanted = (names, 1 << max(count - 1, 0).bit_length())
        self._wanted_scores[wanted] = self._clock.now()
        zones = {subnet.zone_id: subnet.zone for subnet in self._subnets.known().values()}
        return facts.scores_by_zone(self._scores.known().get(wanted, []), zones)

    def ask_spot_scores(self) -> None:
        """Ask for one configuration: the one wanted last that is due. What nobody wanted for a day is forgotten."""
        now = self._clock.now()
        if self._scored is not None and now - self._scored < limits.SPOT_SCORE_EVERY:
            return
        for wanted, at in sorted(self._wanted_scores.items(), key=lambda item: item[1], reverse=True):
            if now - at > limits.STALE_LIFE:
                self._wanted_scores.pop(wanted, None)
            elif self._scores.is_due(wanted):
                self._scored = now
                self._scores.find([wanted])
                return

    def forget(self) -> None:
        """Ask anew next time."""
        shelves: list[Shelf[Any, Any]] = [self._types, self._zones, self._subnets, self._templates, self._images]
        shelves += [self._quotas, self._reservations, self._self_rules, self._scores]
        for shelf in shelves:
            shelf.forget()

    # -- one question each

    def _ask_types(self, names: Sequence[str]) -> dict[str, TypeFacts]:
        """Ask by filter: it leaves out what InstanceTypes would fail the whole call for (InvalidInstanceType)."""
        found = self._pages("DescribeInstanceTypes", "InstanceTypes", Filters=_filter("instance-type", names))
        return {item["InstanceType"]: facts.type_facts(item) for item in found}

    def _ask_zones(self, names: Sequence[str]) -> dict[str, frozenset[str]]:
        zones: dict[str, set[str]] = {name: set() for name in names}
        for item in self._pages(
            "DescribeInstanceTypeOfferings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=_filter("instance-type", names),
        ):
            zones.setdefault(item["InstanceType"], set()).add(item["Location"])
        return {name: frozenset(found) for name, found in zones.items()}

    def _ask_subnets(self, ids: Sequence[str]) -> dict[str, SubnetFacts]:
        found = self._pages("DescribeSubnets", "Subnets", Filters=_filter("subnet-id", ids))
        return {item["SubnetId"]: facts.subnet_facts(item) for item in found}

    def _ask_template(self, templates: Sequence[Template]) -> dict[Template, TemplateFacts]:
        (template,) = templates
        found = self._pages(
            "DescribeLaunchTemplateVersions",
            "LaunchTemplateVersions",
            absent=True,
            **template_named(template),
            Versions=[template.version],
        )
        return {template: facts.template_facts(template, found[0])} if found else {}

    def _ask_image(self, images: Sequence[str]) -> dict[str, str]:
        found = self._pages("DescribeImages", "Images", absent=True, ImageIds=list(images))
        return {item["ImageId"]: item.get("Architecture", "") for item in found}

    def _ask_quota(self, codes: Sequence[str]) -> dict[str, int]:
        """Ask for the quota as applied; one that was never changed has a default only (GetServiceQuota)."""
        (code,) = codes
        for action in ("GetServiceQuota", "GetAWSDefaultServiceQuota"):
            with self._noted("service-quotas", action, absent=True):
                raw = self._call("service-quotas", action, ServiceCode="ec2", QuotaCode=code)
                return {code: int(raw["Quota"]["Value"])}
        return {}

    def _ask_reservations(self, ids: Sequence[str]) -> dict[str, ReservationFacts]:
        """Ask by id; one that EC2 does not know fails the whole call, and then each is asked for alone."""
        action, member = "DescribeCapacityReservations", "CapacityReservations"
        found = self._pages(action, member, absent=True, CapacityReservationIds=list(ids))
        if not found and len(ids) > 1:
            alone = [self._pages(action, member, absent=True, CapacityReservationIds=[one]) for one in ids]
            found = [item for items in alone for item in items]
        return {item["CapacityReservationId"]: facts.reservation_facts(item) for item in found}

    def _ask_self_rules(self, groups: Sequence[str]) -> dict[str, bool]:
        found = self._pages("DescribeSecurityGroups", "SecurityGroups", Filters=_filter("group-id", groups))
        return {item["GroupId"]: facts.has_self_rule(item) for item in found}

    def _ask_scores(self, asked: Sequence[_Scored]) -> dict[_Scored, list[Mapping[str, Any]]]:
        ((names, count),) = asked
        found = self._pages(
            "GetSpotPlacementScores",
            "SpotPlacementScores",
            InstanceTypes=list(names),
            TargetCapacity=count,
            SingleAvailabilityZone=True,
            RegionNames=[self._settings.region],
        )
        return {(names, count): found}

    # -- how a question is put

    def _pages(self, action: str, member: str, *, absent: bool = False, **asked: Any) -> list[Mapping[str, Any]]:
        """Return all items of an answer. absent: `not found` is an answer too, an empty one."""
        found: list[Mapping[str, Any]] = []
        with self._noted("ec2", action, absent=absent):
            while True:
                raw = self._call("ec2", action, **asked)
                found += raw.get(member) or []
                if not raw.get("NextToken"):
                    return found
                asked["NextToken"] = raw["NextToken"]
        return found

    @contextmanager
    def _noted(self, service: str, action: str, *, absent: bool) -> Iterator[None]:
        """Keep an error for the status, and take it back when a later call is answered."""
        try:
            with translated(service, action):
                yield
        except CloudError as error:
            if absent and error.verdict is Verdict.NOT_FOUND:
                self.troubles.pop(action, None)
                return
            self.troubles[action] = f"{error.code}: {error.why}"
            raise
        self.troubles.pop(action, None)

    def _call(self, service: str, action: str, **asked: Any) -> Mapping[str, Any]:
        with self._lock:
            if service not in self._clients:
                # One try for quotas: many subnets have no way to that service, and a launch should not wait for it.
                attempts = 1 if service == "service-quotas" else 0
                self._clients[service] = client(self._settings, service, attempts=attempts)
        raw: Mapping[str, Any] = getattr(self._clients[service], xform_name(action))(**asked)
        return raw


def _filter(name: str, values: Sequence[str]) -> list[dict[str, Any]]:
    return [{"Name": name, "Values": list(values)}]
