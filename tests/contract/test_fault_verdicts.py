"""Each code, and each silence, at each call of the adapter: the verdict of the table, or what is said below.

botocore builds and parses every request; only the network is pretended, because a code costs a millisecond so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError
from tests.fakes.samples import order

from asbx.aws.answers import VERDICTS
from asbx.aws.cloud import Ec2
from asbx.config.schema import Aws
from asbx.model.catalogue import TemplateChange
from asbx.model.market import Template, Verdict
from asbx.ports import CloudError

_ID = "i-0123456789abcdef0"
CALLS: dict[str, Callable[[Ec2], object]] = {
    "CreateFleet": lambda cloud: cloud.launch(order("token-1")),
    "DescribeInstances by id": lambda cloud: cloud.describe([_ID]),
    "DescribeInstances by cluster": lambda cloud: cloud.owned("lab"),
    "DescribeInstances by launch": lambda cloud: cloud.launched_for("int-1"),
    "TerminateInstances": lambda cloud: cloud.terminate([_ID]),
    "CreateTags": lambda cloud: cloud.tag([_ID], {"Name": "n"}),
    "CreatePlacementGroup": lambda cloud: cloud.make_group("g", "cluster", {}),
    "DeletePlacementGroup": lambda cloud: cloud.remove_group("g"),
    "DescribeLaunchTemplateVersions": lambda cloud: cloud.make_template(
        "made", Template(name="base"), TemplateChange(), {}
    ),
    "CreateLaunchTemplate": lambda cloud: cloud.make_template("made", Template(name="base"), TemplateChange(), {}),
    "DeleteLaunchTemplate": lambda cloud: cloud.remove_template("made"),
    "DescribeInstanceTopology": lambda cloud: cloud.topology([_ID]),
}
# Refusals that say that things are as wanted.
FINE: dict[tuple[str, str], object] = {
    ("CreatePlacementGroup", "InvalidPlacementGroup.Duplicate"): None,
    ("DeletePlacementGroup", "InvalidPlacementGroup.Unknown"): True,
    ("DeletePlacementGroup", "InvalidPlacementGroup.InUse"): False,
    ("CreateLaunchTemplate", "InvalidLaunchTemplateName.AlreadyExistsException"): Template(name="made", version="1"),
    ("DeleteLaunchTemplate", "InvalidLaunchTemplateName.NotFoundException"): None,
    ("DescribeInstanceTopology", "InvalidAction"): {},
} | {("DescribeInstanceTopology", code): {} for code, verdict in VERDICTS.items() if verdict is Verdict.NOT_OFFERED}
SILENCES: dict[str, Callable[[], Exception]] = {
    "cut": lambda: ConnectionClosedError(endpoint_url="https://ec2"),
    "late": lambda: ReadTimeoutError(endpoint_url="https://ec2"),
    "nobody": lambda: EndpointConnectionError(endpoint_url="https://ec2"),
}
_VERSIONS = (
    "<DescribeLaunchTemplateVersionsResponse><launchTemplateVersionSet><item><launchTemplateData>"
    "<imageId>ami-1</imageId></launchTemplateData></item></launchTemplateVersionSet>"
    "</DescribeLaunchTemplateVersionsResponse>"
)


class _Raw:
    """The body of an answer, as urllib3 has it."""

    def __init__(self, text: str) -> None:
        self._text = text.encode()

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self._text


class Door:
    """An adapter whose calls are answered here. asked: the actions, in order."""

    def __init__(self) -> None:
        settings = {
            "region": "us-east-2",
            "retry_max_attempts": 1,
            "authentication_method": "access_keys",
            "access_keys": {"access_key_id": "a", "secret_access_key": "b"},
        }
        self.cloud = Ec2(Aws.model_validate(settings))
        self.asked: list[str] = []
        self._answer: tuple[str, int, str] | Exception = ("", 200, "")
        self._at = ""
        for client in (self.cloud._ec2, self.cloud._launcher):
            client.meta.events.register("before-send.ec2", self._send)

    def refuse(self, action: str, answer: tuple[str, int, str] | Exception) -> None:
        """Answer an action with (code, HTTP status, body, "" for EC2's own), or not at all."""
        self.asked, self._at, self._answer = [], action, answer

    def _send(self, request: Any, event_name: str, **_: object) -> AWSResponse:
        action = event_name.rpartition(".")[2]
        self.asked.append(action)
        if action == "DescribeLaunchTemplateVersions" != self._at:
            return AWSResponse(request.url, 200, {}, _Raw(_VERSIONS))
        if isinstance(self._answer, Exception):
            raise self._answer
        code, status, body = self._answer
        error = f"<Response><Errors><Error><Code>{code}</Code><Message>so it is</Message></Error></Errors></Response>"
        return AWSResponse(request.url, status, {}, _Raw(body or error))


@pytest.fixture(scope="module")
def door() -> Door:
    """Return one adapter for all calls: a client takes a tenth of a second to make."""
    return Door()


def _refused(door: Door, call: str) -> CloudError:
    with pytest.raises(CloudError) as caught:
        CALLS[call](door.cloud)
    return caught.value


@pytest.mark.parametrize("call", CALLS)
def test_every_code_has_its_verdict(door: Door, call: str) -> None:
    """Every code of the table at this call is a CloudError with that code and its verdict, or is fine."""
    for code, verdict in VERDICTS.items():
        door.refuse(call.split(maxsplit=1)[0], (code, 400, ""))
        if (call, code) in FINE:
            assert CALLS[call](door.cloud) == FINE[call, code], code
            continue
        error = _refused(door, call)
        assert (error.code, error.verdict) == (code, verdict)
        assert error.why == "so it is"
        # An id that is not known is looked for by a filter, which leaves it out; nothing else is asked twice.
        by_id = call in ("DescribeInstances by id", "TerminateInstances") and verdict is Verdict.NOT_FOUND
        assert len(door.asked) == 1 + by_id + (call == "CreateLaunchTemplate"), (code, door.asked)


@pytest.mark.parametrize("call", CALLS)
def test_what_has_no_code_passes(door: Door, call: str) -> None:
    """An unknown code is shown as it is; server errors, garbage and silence are taken for passing trouble."""
    action = call.split(maxsplit=1)[0]
    door.refuse(action, ("NobodyKnowsThisCode", 400, ""))
    assert _refused(door, call).verdict is Verdict.UNKNOWN
    door.refuse(action, ("NobodyKnowsThisCode", 503, ""))
    assert _refused(door, call).verdict is Verdict.TRANSIENT
    for status in (500, 502, 503, 504):
        door.refuse(action, ("", status, "<html>Bad Gateway</html>"))
        assert _refused(door, call).verdict is Verdict.TRANSIENT, status
    door.refuse(action, ("", 200, "<half an ans"))
    assert _refused(door, call).verdict is Verdict.TRANSIENT
    for name, silence in SILENCES.items():
        door.refuse(action, silence())
        error = _refused(door, call)
        assert (error.code, error.verdict) == ("aws-unreachable", Verdict.TRANSIENT), name
