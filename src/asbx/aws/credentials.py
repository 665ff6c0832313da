"""Where credentials come from, for each way a site may configure, and how those that have ended are renewed.

All of it is botocore's own: its providers renew before the end by themselves. What is added here is the case they
cannot see, that AWS calls credentials expired which by the local clock are good (revoked, a clock that was set): then
they are fetched anew and the request is sent once more with the same parameters, ClientToken included.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import boto3
from botocore.config import Config as ClientConfig
from botocore.credentials import (
    AssumeRoleWithWebIdentityProvider,
    DeferredRefreshableCredentials,
    create_assume_role_refresher,
)
from botocore.session import Session, get_session

from asbx.config.limits import AWS_CONNECT_TIMEOUT, AWS_READ_TIMEOUT, RENEW_EARLY, RENEW_LATE
from asbx.config.schema import Aws, WebIdentity

# EC2's word and STS's for the same (EC2 API reference, "Error codes", and IAM API reference, "Common errors").
EXPIRED = frozenset({"RequestExpired", "ExpiredToken", "ExpiredTokenException"})
# What botocore calls the role of a machine, and of a container on it.
_MACHINE_ROLES = ("iam-role", "container-role")
_RENEWED, _SIGNED = "asbx-renewed", "asbx-signed-with"


def session(settings: Aws) -> boto3.Session:
    """Return a session for the configured authentication method."""
    method, keys = settings.authentication_method, settings.access_keys
    if method in ("assume_role", "cross_account", "web_identity"):
        return _with_role(settings)
    if method == "access_keys" and keys:
        return boto3.Session(keys.access_key_id, keys.secret_access_key, keys.session_token or None)
    if method == "instance_profile":
        return _machine_role()
    named = settings.sso.profile_name if method == "sso" and settings.sso else ""
    return boto3.Session(profile_name=named or settings.profile or None)


def _with_role(settings: Aws) -> boto3.Session:
    if settings.authentication_method == "web_identity" and settings.web_identity:
        return _web_identity(settings, settings.web_identity)
    if settings.authentication_method == "cross_account" and settings.cross_account:
        cross = settings.cross_account
        extra = {"ExternalId": cross.external_id}
        return _assumed(settings, cross.source_profile, cross.target_role_arn, cross.session_name, extra)
    role = settings.assume_role
    assert role is not None, "the rules of the configuration ask for the section"
    more = {"DurationSeconds": role.duration_seconds, "ExternalId": role.external_id, "Policy": role.policy}
    return _assumed(settings, settings.profile, role.role_arn, role.session_name, more)


def renew_when_expired(client: Any, settings: Aws) -> None:
    """Make a client fetch its credentials anew when AWS calls them expired, and ask once more.

    Where the same ones come back nothing more is tried: static keys have no others. Threads share the client, so a
    request is also repeated where another has renewed them since it was signed.
    """
    signer = client._request_signer  # noqa: SLF001  its only holder of credentials
    lock = threading.Lock()

    def note(request: Any, **_: object) -> None:
        request.context[_SIGNED] = _key(signer._credentials)  # noqa: SLF001

    def expired(response: Any, request_dict: dict[str, Any], **_: object) -> float | None:
        context = request_dict["context"]
        code = response[1].get("Error", {}).get("Code", "") if response else ""
        if code not in EXPIRED or context.get(_RENEWED):
            return None
        context[_RENEWED] = True
        with lock:
            if _key(signer._credentials) == context.get(_SIGNED):  # noqa: SLF001
                signer._credentials = session(settings).get_credentials() or signer._credentials  # noqa: SLF001
            is_fresh = _key(signer._credentials) != context.get(_SIGNED)  # noqa: SLF001
        return 0.0 if is_fresh else None  # again at once; botocore signs each try anew

    client.meta.events.register("before-sign", note)
    client.meta.events.register("needs-retry", expired)


def _key(credentials: Any) -> str:
    """Return the access key, "" where there are no credentials: botocore says so itself when it signs."""
    return "" if credentials is None else str(credentials.get_frozen_credentials().access_key)


def _machine_role() -> boto3.Session:
    """Return a session that signs with the role of this machine, whatever keys environment and files hold."""
    core = get_session()
    resolver = core.get_component("credential_provider")
    for provider in list(resolver.providers):
        if provider.METHOD not in _MACHINE_ROLES:
            resolver.remove(provider.METHOD)
    return boto3.Session(botocore_session=core)


def _web_identity(settings: Aws, identity: WebIdentity) -> boto3.Session:
    """Return a session whose credentials come from sts:AssumeRoleWithWebIdentity and renew themselves."""
    core = get_session()
    core.get_component("credential_provider").insert_before(
        "env",
        AssumeRoleWithWebIdentityProvider(
            load_config=lambda: {
                "profiles": {
                    "asbx": {
                        "role_arn": identity.role_arn,
                        "web_identity_token_file": str(identity.token_file),
                        "role_session_name": identity.session_name,
                    }
                }
            },
            client_creator=_creator(settings, core),
            profile_name="asbx",
            disable_env_vars=True,
        ),
    )
    return boto3.Session(botocore_session=core)


def _assumed(settings: Aws, profile: str, role_arn: str, session_name: str, extra: dict[str, Any]) -> boto3.Session:
    """Return a session whose credentials come from sts:AssumeRole and renew themselves."""
    source = get_session()
    if profile:
        source.set_config_variable("profile", profile)
    sts = _creator(settings, source)("sts")
    parameters = {"RoleArn": role_arn, "RoleSessionName": session_name} | {k: v for k, v in extra.items() if v}
    core = get_session()
    renewing = DeferredRefreshableCredentials(
        refresh_using=create_assume_role_refresher(sts, parameters), method="sts-assume-role"
    )
    # botocore renews within the last 15 minutes; of a session of 15 minutes that is always, before each call.
    life = timedelta(seconds=int(parameters.get("DurationSeconds", 3600)))
    early, late = (min(limit, life / 4).total_seconds() for limit in (RENEW_EARLY, RENEW_LATE))
    renewing._advisory_refresh_timeout, renewing._mandatory_refresh_timeout = early, late  # noqa: SLF001
    core._credentials = renewing  # noqa: SLF001  the documented way has no public name
    return boto3.Session(botocore_session=core)


def _creator(settings: Aws, core: Session) -> Callable[..., Any]:
    """Return a maker of STS clients that ask in the region of the site, where the site says, and not for ever."""

    def create(service: str, config: Any = None, **more: Any) -> Any:
        patient = ClientConfig(
            connect_timeout=AWS_CONNECT_TIMEOUT.total_seconds(), read_timeout=AWS_READ_TIMEOUT.total_seconds()
        )
        return core.create_client(
            service,
            region_name=settings.region,
            endpoint_url=settings.endpoint_url or None,
            config=config.merge(patient) if config else patient,
            **more,
        )

    return create
