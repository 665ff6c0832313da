"""Each way to authenticate signs the EC2 call with the credentials it should, and renews them in mid-flow."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.contract import emulator, gateway
from tests.fakes import samples

from asbx.aws.cloud import Ec2
from asbx.config.schema import Aws
from asbx.errors import ExitCode
from asbx.model.market import FleetOrder, Pool, Template, Verdict
from asbx.ports import CloudError

ROLE = "arn:aws:iam::210987654321:role/burst"
# In the account the pretend EC2's subnets are in.
ROLE_HERE = "arn:aws:iam::123456789012:role/burst"


@pytest.fixture(scope="module")
def ec2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[emulator.Emulator]:
    """Start one pretend EC2 with STS for all tests here."""
    machine = emulator.start(tmp_path_factory.mktemp("emulator"))
    yield machine
    machine.stop()


@pytest.fixture(scope="module")
def ground(ec2: emulator.Emulator) -> emulator.Ground:
    """Make subnets and a template."""
    return emulator.prepare(ec2.client())


@pytest.fixture
def door(ec2: emulator.Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[gateway.Gateway]:
    """Return the door before EC2; nothing of the caller's own environment says who we are."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "EC2_METADATA_DISABLED"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    (tmp_path / "config").write_text("[profile base]\nregion = us-east-2\n", encoding="utf-8")
    keys = "[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = secret\n"
    (tmp_path / "credentials").write_text(keys, encoding="utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    with gateway.serve(ec2.url) as made:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", made.url)
        yield made


def cloud(door: gateway.Gateway, method: str, **section: Any) -> Ec2:
    """Return EC2 behind the door, with an authentication method."""
    settings = {"region": "us-east-2", "endpoint_url": door.url, "authentication_method": method, **section}
    return Ec2(Aws.model_validate(settings))


def signed(door: gateway.Gateway) -> str:
    """Return the key that signed the last EC2 call."""
    return door.made("DescribeInstances")[-1].key


def order(ground: emulator.Ground, token: str) -> FleetOrder:
    """Return an order of one instance."""
    pools = (Pool("c7i.large", ground.subnets["us-east-2a"], "us-east-2a"),)
    tags = (("asbx:cluster", "auth"), ("asbx:intent", token))
    made = samples.order(token, count=1, pools=pools, tags=tags)
    return replace(made, template=Template(template_id=ground.template, version="1"))


def test_static_keys_sign_themselves(door: gateway.Gateway) -> None:
    """No other service is asked."""
    cloud(door, "access_keys", access_keys={"access_key_id": "AKIASTATIC", "secret_access_key": "s"}).owned("c")
    assert signed(door) == "AKIASTATIC"
    assert len(door.calls) == 1


def test_a_profile_of_the_files_signs(door: gateway.Gateway) -> None:
    """As the AWS command line would with --profile."""
    cloud(door, "profile", profile="base").owned("c")
    assert signed(door) == "AKIABASE"


def test_the_instance_profile_signs_whatever_else_there_is(
    door: gateway.Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys in the environment, left by somebody's shell, do not come before the machine's role."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASTRAY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    cloud(door, "instance_profile").owned("c")
    assert signed(door) == door.handed[0] == "ASIAIMDS0000"
    cloud(door, "default").owned("c")
    assert signed(door) == "AKIASTRAY"


def test_an_instance_profile_renews_itself_in_a_long_life(door: gateway.Gateway) -> None:
    """Hours later the same client signs with other credentials, without a restart."""
    one = cloud(door, "instance_profile")
    one.owned("c")
    one.owned("c")
    assert [call.key for call in door.made("DescribeInstances")] == ["ASIAIMDS0000"] * 2
    later = datetime.now(UTC) + door.lifetime - timedelta(minutes=5)
    one._ec2._request_signer._credentials._time_fetcher = lambda: later  # botocore's only clock for this
    one.owned("c")
    assert signed(door) == door.handed[-1] != "ASIAIMDS0000"


def test_a_short_session_is_not_renewed_before_each_call(door: gateway.Gateway) -> None:
    """Fifteen minutes, the least AWS gives, are used for most of their time."""
    one = cloud(door, "assume_role", profile="base", assume_role={"role_arn": ROLE, "duration_seconds": 900})
    one.owned("c")
    one.owned("c")
    assert len(door.made("AssumeRole")) == 1


def test_a_role_is_assumed_with_its_external_id(door: gateway.Gateway) -> None:
    """The profile asks STS, the role's own key signs EC2's call."""
    role = {"role_arn": ROLE, "external_id": "ext-1", "session_name": "night", "duration_seconds": 900}
    cloud(door, "assume_role", profile="base", assume_role=role).owned("c")
    (call,) = door.made("AssumeRole")
    assert (call.key, call.asked["RoleArn"], call.asked["ExternalId"]) == ("AKIABASE", ROLE, "ext-1")
    assert (call.asked["RoleSessionName"], call.asked["DurationSeconds"]) == ("night", "900")
    assert signed(door).startswith("ASIA")


def test_a_role_in_another_account_is_assumed_from_its_profile(door: gateway.Gateway) -> None:
    """cross_account: the same, from source_profile."""
    cross = {"source_profile": "base", "target_role_arn": ROLE, "external_id": "ext-2"}
    cloud(door, "cross_account", cross_account=cross).owned("c")
    (call,) = door.made("AssumeRole")
    assert (call.key, call.asked["RoleArn"], call.asked["ExternalId"]) == ("AKIABASE", ROLE, "ext-2")
    assert signed(door).startswith("ASIA")


def test_a_web_identity_is_changed_for_a_role(door: gateway.Gateway, tmp_path: Path) -> None:
    """The token is read from its file, the call to STS is unsigned and goes where the site says."""
    (tmp_path / "token").write_text("jwt-of-the-cluster", encoding="utf-8")
    identity = {"role_arn": ROLE, "token_file": str(tmp_path / "token")}
    cloud(door, "web_identity", web_identity=identity).owned("c")
    (call,) = door.made("AssumeRoleWithWebIdentity")
    assert (call.key, call.asked["WebIdentityToken"], call.asked["RoleArn"]) == ("", "jwt-of-the-cluster", ROLE)
    assert signed(door).startswith("ASIA")


_SSO = """
import sys
from asbx.aws.cloud import Ec2
from asbx.config.schema import Aws
settings = {"region": "us-east-2", "endpoint_url": sys.argv[1], "authentication_method": "sso",
            "sso": {"profile_name": "burst"}}
Ec2(Aws.model_validate(settings)).owned("c")
"""


def test_an_sso_profile_signs_with_its_session(door: gateway.Gateway, tmp_path: Path) -> None:
    """The token of `aws sso login` buys role credentials at the portal. botocore finds its folder once, at import."""
    start = "https://example.awsapps.com/start"
    profile = f"sso_start_url = {start}\nsso_region = us-east-2\nsso_account_id = 210987654321\nsso_role_name = burst\n"
    (tmp_path / "config").write_text(f"[profile burst]\n{profile}", encoding="utf-8")
    cache = tmp_path / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    ends = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    name = hashlib.sha1(start.encode(), usedforsecurity=False).hexdigest()
    token = {"startUrl": start, "region": "us-east-2", "accessToken": "sso-token", "expiresAt": ends}
    (cache / f"{name}.json").write_text(json.dumps(token), encoding="utf-8")
    environ = {"HOME": str(tmp_path), "AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_ENDPOINT_URL_SSO": door.url}
    command = [sys.executable, "-c", _SSO, door.url]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert door.made("GetRoleCredentials")[0].asked == {"token": "sso-token"}
    assert signed(door) == "ASIASSO0000"


# -- in mid-flow


def test_expired_credentials_are_renewed_once_and_nothing_is_launched_twice(
    door: gateway.Gateway, ground: emulator.Ground
) -> None:
    """EC2 calls a good key expired in the middle of a launch: a new one is fetched, the same order sent again."""
    one = cloud(door, "assume_role", profile="base", assume_role={"role_arn": ROLE_HERE})
    one.owned("auth")
    first = signed(door)
    door.expired.add(first)
    answer = one.launch(order(ground, "auth-1"))
    fleets = door.made("CreateFleet")
    # The launching client has credentials of its own, so it may or may not be the one that was refused.
    assert len({call.asked["ClientToken"] for call in fleets}) == 1
    one.owned("auth")
    assert signed(door) != first
    assert len(answer.launched) == len(one.launched_for("auth-1")) == 1


def test_a_launch_refused_as_expired_is_sent_again_under_its_token(
    door: gateway.Gateway, ground: emulator.Ground
) -> None:
    """The launching client tries once only, but for this."""
    one = cloud(door, "instance_profile")
    one.launch(order(ground, "auth-2"))
    door.expired |= set(door.handed)
    answer = one.launch(order(ground, "auth-3"))
    asked = [call.asked["ClientToken"] for call in door.made("CreateFleet")]
    assert asked == ["auth-2", "auth-3", "auth-3"]
    assert len(answer.launched) == len(one.launched_for("auth-3")) == 1


def test_keys_that_stay_expired_are_tried_no_further(door: gateway.Gateway, ground: emulator.Ground) -> None:
    """Static keys have no others: one call, and an error that says so."""
    keys = {"access_key_id": "AKIAOLD", "secret_access_key": "s"}
    door.expired.add("AKIAOLD")
    with pytest.raises(CloudError) as caught:
        cloud(door, "access_keys", access_keys=keys).launch(order(ground, "auth-4"))
    assert caught.value.verdict is Verdict.PERMISSION
    assert caught.value.exit_code is ExitCode.AWS_ACCESS
    assert len(door.calls) == 1


def test_a_role_that_may_not_be_assumed_is_told_with_what_to_do(door: gateway.Gateway) -> None:
    """Exit status 7, the words of STS, and where to look."""
    door.denies_roles = True
    with pytest.raises(CloudError) as caught:
        cloud(door, "assume_role", profile="base", assume_role={"role_arn": ROLE, "external_id": "xx"}).owned("c")
    error = caught.value
    assert error.code == "aws-credentials"
    assert error.exit_code is ExitCode.AWS_ACCESS
    assert "sts:AssumeRole" in error.why
    assert "external id" in error.hint
    assert door.made("DescribeInstances") == []


def test_no_credentials_at_all_are_an_access_error(door: gateway.Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither keys, nor files, nor a role of the machine: exit status 7, before anything is asked."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    for method in ("default", "instance_profile"):
        with pytest.raises(CloudError) as caught:
            cloud(door, method).owned("c")
        assert caught.value.exit_code is ExitCode.AWS_ACCESS
        assert caught.value.code == "aws-credentials"
    assert door.calls == []


@pytest.mark.parametrize(
    ("method", "section"),
    [
        ("profile", {"profile": "nobody"}),
        ("sso", {"sso": {"profile_name": "nobody"}}),
        ("assume_role", {"profile": "nobody", "assume_role": {"role_arn": ROLE}}),
        ("web_identity", {"web_identity": {"role_arn": ROLE, "token_file": "/nonexistent/token"}}),
    ],
)
def test_what_is_missing_on_the_machine_is_an_access_error(
    door: gateway.Gateway, method: str, section: dict[str, Any]
) -> None:
    """A profile that is not there, a token file that is not there: exit status 7, no traceback."""
    with pytest.raises(CloudError) as caught:
        cloud(door, method, **section).owned("c")
    assert caught.value.exit_code is ExitCode.AWS_ACCESS
    assert caught.value.hint
