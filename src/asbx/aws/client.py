"""boto3 clients: credentials as the site configured them, one retry policy, and foreign errors translated.

Retries are the SDK's, mode `standard` (it retries throttling whatever the HTTP status; `legacy` does not), with the
configured number of attempts. CreateFleet gets one attempt: the ladder decides about launches, under the same token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import botocore.exceptions as failures
from botocore.config import Config as ClientConfig
from botocore.credentials import (
    AssumeRoleWithWebIdentityProvider,
    DeferredRefreshableCredentials,
    create_assume_role_refresher,
)
from botocore.parsers import ResponseParserError
from botocore.session import get_session

from asbx.aws.answers import verdict_of
from asbx.config.limits import AWS_CONNECT_TIMEOUT, AWS_READ_TIMEOUT
from asbx.config.schema import Aws, WebIdentity
from asbx.model.market import Verdict
from asbx.ports import CloudError

_NO_CREDENTIALS = (
    failures.NoCredentialsError,
    failures.PartialCredentialsError,
    failures.CredentialRetrievalError,
    failures.TokenRetrievalError,
    failures.ProfileNotFound,
    failures.SSOError,
)
_CONNECTION = (failures.HTTPClientError, failures.ConnectionError, ResponseParserError)
_LOCAL = (
    failures.ParamValidationError,
    failures.NoRegionError,
    failures.InvalidRegionError,
    failures.DataNotFoundError,
)


def client(settings: Aws, service: str, *, attempts: int = 0, region: str = "") -> Any:
    """Return a boto3 client. attempts 0 means the configured number. Raises CloudError without credentials."""
    with translated(service, "client"):
        return _session(settings).client(
            service,
            region_name=region or settings.region,
            endpoint_url=settings.endpoint_url or None,
            config=ClientConfig(
                retries={
                    "mode": settings.retry_mode,
                    "total_max_attempts": attempts or settings.retry_max_attempts,
                },
                connect_timeout=AWS_CONNECT_TIMEOUT.total_seconds(),
                read_timeout=AWS_READ_TIMEOUT.total_seconds(),
                tcp_keepalive=True,
                max_pool_connections=32,
                user_agent_extra="aws-slurm-burst",
            ),
        )


def _session(settings: Aws) -> boto3.Session:
    """Return a session for the configured authentication method."""
    method = settings.authentication_method
    if method == "access_keys" and settings.access_keys:
        keys = settings.access_keys
        return boto3.Session(keys.access_key_id, keys.secret_access_key, keys.session_token or None)
    if method == "sso" and settings.sso:
        return boto3.Session(profile_name=settings.sso.profile_name or settings.profile or None)
    if method == "assume_role" and settings.assume_role:
        role = settings.assume_role
        extra = {
            "DurationSeconds": role.duration_seconds,
            "ExternalId": role.external_id,
            "Policy": role.policy,
        }
        return _assumed(settings, settings.profile, role.role_arn, role.session_name, extra)
    if method == "web_identity" and settings.web_identity:
        return _web_identity(settings.web_identity)
    if method == "cross_account" and settings.cross_account:
        cross = settings.cross_account
        extra = {"ExternalId": cross.external_id}
        return _assumed(settings, cross.source_profile, cross.target_role_arn, cross.session_name, extra)
    return boto3.Session(profile_name=settings.profile or None)


def _web_identity(settings: WebIdentity) -> boto3.Session:
    """Return a session whose credentials come from sts:AssumeRoleWithWebIdentity and renew themselves."""
    core = get_session()
    core.get_component("credential_provider").insert_before(
        "env",
        AssumeRoleWithWebIdentityProvider(
            load_config=lambda: {
                "profiles": {
                    "asbx": {
                        "role_arn": settings.role_arn,
                        "web_identity_token_file": str(settings.token_file),
                        "role_session_name": settings.session_name,
                    }
                }
            },
            client_creator=core.create_client,
            profile_name="asbx",
            disable_env_vars=True,
        ),
    )
    return boto3.Session(botocore_session=core)


def _assumed(settings: Aws, profile: str, role_arn: str, session_name: str, extra: dict[str, Any]) -> boto3.Session:
    """Return a session whose credentials come from sts:AssumeRole and renew themselves."""
    source = boto3.Session(profile_name=profile or None)
    sts = source.client("sts", region_name=settings.region, endpoint_url=settings.endpoint_url or None)
    parameters = {"RoleArn": role_arn, "RoleSessionName": session_name} | {k: v for k, v in extra.items() if v}
    core = get_session()
    core._credentials = DeferredRefreshableCredentials(  # noqa: SLF001  the documented way has no public name
        refresh_using=create_assume_role_refresher(sts, parameters), method="sts-assume-role"
    )
    return boto3.Session(botocore_session=core)


@contextmanager
def translated(service: str, action: str) -> Iterator[None]:
    """Turn what boto3 raises into a CloudError with a verdict; the cause is kept for the debug log."""
    try:
        yield
    except failures.ClientError as error:
        raise _refused(service, action, error) from error
    except _NO_CREDENTIALS as error:
        raise CloudError(
            "aws-credentials",
            f"AWS credentials are missing or unusable for {service}",
            _text(error),
            "give the instance a role, or set aws.authentication_method and its section",
            Verdict.PERMISSION,
        ) from error
    except _CONNECTION as error:
        raise CloudError(
            "aws-unreachable",
            f"{service} {action} got no answer",
            _text(error),
            "check the network and the region's endpoint",
            Verdict.TRANSIENT,
        ) from error
    except _LOCAL as error:
        raise CloudError(
            "aws-request",
            f"{service} {action} cannot be asked like this",
            _text(error),
            "check region and ids",
            Verdict.INVALID,
        ) from error
    except failures.BotoCoreError as error:
        raise CloudError(
            "aws-sdk", f"{service} {action} failed in the SDK", _text(error), "report this", Verdict.UNKNOWN
        ) from error


def _refused(service: str, action: str, error: failures.ClientError) -> CloudError:
    body = error.response.get("Error", {})
    code = str(body.get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
    verdict = verdict_of(code, status)
    hint = {
        Verdict.PERMISSION: "check the credentials and their policy (docs/how-to/real-cluster.md lists the actions)",
        Verdict.NOT_FOUND: "check the ids and names in the configuration",
        Verdict.INVALID: "check the launch template and the configuration",
        Verdict.QUOTA: "ask AWS for a higher quota",
        Verdict.LIMIT: "ask AWS for a higher quota, or remove what is not used",
    }.get(verdict, "it may pass by itself")
    return CloudError(
        code or "aws-error",
        f"{service} {action} was refused",
        str(body.get("Message", ""))[:1000],
        hint,
        verdict,
    )


def _text(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
