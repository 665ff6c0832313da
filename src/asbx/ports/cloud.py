"""EC2: what is launched and described, what it offers and costs, what AWS announces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from asbx.errors import AsbxError, ExitCode
from asbx.model.catalogue import ReservationFacts, SubnetFacts, TemplateChange, TemplateFacts, TypeFacts
from asbx.model.health import InstanceHealth
from asbx.model.market import FleetAnswer, FleetOrder, Instance, Market, Template, Verdict
from asbx.model.notice import Message
from asbx.model.price import PriceChange


class CloudError(AsbxError):
    """EC2 refused a call as a whole. `verdict` says what that means; `code` is EC2's own code."""

    def __init__(self, code: str, what: str, why: str, hint: str, verdict: Verdict) -> None:
        super().__init__(code, what, why, hint)
        self.verdict = verdict
        if verdict is Verdict.PERMISSION:
            self.exit_code = ExitCode.AWS_ACCESS


class Cloud(Protocol):
    """EC2. Every method raises CloudError when a call is refused as a whole or cannot be made."""

    def launch(self, order: FleetOrder) -> FleetAnswer:
        """Ask once. The same order with the same token launches nothing new."""

    def describe(self, instance_ids: Sequence[str]) -> tuple[Instance, ...]:
        """Return what EC2 knows of these; ids it does not know (yet) are left out."""

    def owned(self, cluster: str) -> tuple[Instance, ...]:
        """Return every instance tagged for the cluster that is not terminated."""

    def launched_for(self, intent_id: str) -> tuple[Instance, ...]:
        """Return what EC2 launched for an intent and has not terminated, by its tag."""

    def terminate(self, instance_ids: Sequence[str]) -> tuple[str, ...]:
        """End instances; return the ids that are ending or ended. Idempotent.

        Ids EC2 does not know are left out: gone for an hour, or too new to be seen; the caller must tell.
        """

    def tag(self, instance_ids: Sequence[str], tags: Mapping[str, str]) -> None:
        """Put the same tags on all of these, in as few calls as EC2 allows."""

    def make_group(self, name: str, strategy: str, tags: Mapping[str, str]) -> None:
        """Make a placement group (cluster, partition or spread); one that is there already is no error."""

    def remove_group(self, name: str) -> bool:
        """Remove a placement group; False while instances are in it, True when it is gone."""

    def make_template(self, name: str, base: Template, change: TemplateChange, tags: Mapping[str, str]) -> Template:
        """Make a launch template that is `base` with a change; one of that name is returned as it is."""

    def remove_template(self, name: str) -> None:
        """Remove a launch template of ours; one that is gone is no error."""

    def unwell(self) -> tuple[InstanceHealth, ...]:
        """Return the running instances of the region, anybody's, that are impaired or await an event AWS scheduled."""

    def console(self, instance_id: str) -> str:
        """Return what is at hand of a machine's console output, the end of it; "" where there is none (yet)."""

    def topology(self, instance_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return instance id -> network nodes from the top layer down, for those EC2 tells it of."""


class Catalogue(Protocol):
    """Facts EC2 gives for the asking. Read before a launch, cached with stated lifetimes; changes nothing.

    Never raises: what cannot be learned (no permission, no answer) is left out of the answer, and whoever asks
    decides without it.
    """

    def types(self, names: Iterable[str]) -> dict[str, TypeFacts]:
        """Return facts by type; types EC2 says do not exist, or nothing, are left out."""

    def zones(self, names: Iterable[str]) -> dict[str, frozenset[str]]:
        """Return the zones that offer each type; an empty set says that no zone of the region does."""

    def subnets(self, ids: Iterable[str]) -> dict[str, SubnetFacts]:
        """Return facts by subnet id."""

    def template(self, template: Template) -> TemplateFacts | None:
        """Return what a launch template version says."""

    def missing_template(self, template: Template) -> bool:
        """Whether EC2 said that it does not exist (not: that it could not be asked)."""

    def quota(self, market: Market, instance_type: str) -> int | None:
        """Return the account's quota of vCPUs for a market and the family of a type."""

    def reservations(self, ids: Iterable[str]) -> dict[str, ReservationFacts]:
        """Return facts by id of capacity reservation."""

    def missing_reservation(self, reservation: str) -> bool:
        """Whether EC2 said that it does not exist (not: that it could not be asked)."""

    def without_self_rule(self, groups: Iterable[str]) -> tuple[str, ...]:
        """Return which security groups lack a rule that lets all their own traffic in and out, as EFA needs."""

    def spot_scores(self, instance_types: Sequence[str], count: int) -> dict[str, int]:
        """Return zone -> EC2's spot placement score, 1 to 10, as last told: nobody is asked now, and {} may be all.

        What is not known, or is old, is asked for by `ask_spot_scores`.
        """

    def ask_spot_scores(self) -> None:
        """Ask for the scores somebody wanted and that are due, one configuration in SPOT_SCORE_EVERY at the most."""

    def forget(self) -> None:
        """Ask anew next time: something EC2 said does not fit what it does."""


class Prices(Protocol):
    """What an instance costs an hour, in USD; None when it cannot be learned. Never raises."""

    def known(self, instance_type: str, zone: str, market: Market) -> Decimal | None:
        """Return the price last learned, without asking anybody."""

    def hourly(self, instance_type: str, zone: str, market: Market) -> Decimal | None:
        """Return the price now."""

    def learn(self, changes: Iterable[PriceChange]) -> None:
        """Take what somebody else learned."""


class Notices(Protocol):
    """What AWS announces. Both methods raise CloudError when the queue cannot be used."""

    def receive(self) -> tuple[Message, ...]:
        """Wait for messages, some seconds at the longest. Each comes at least once, in any order."""

    def done(self, handles: Sequence[str]) -> None:
        """Let messages not come again."""
