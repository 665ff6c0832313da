"""boto3 clients: one retry policy, and foreign errors translated.

Retries are the SDK's, mode `standard` (it retries throttling whatever the HTTP status; `legacy` does not), with the
configured number of attempts. CreateFleet gets one attempt: the ladder decides about launches, under the same token.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import botocore.exceptions as failures
from botocore.config import Config as ClientConfig
from botocore.parsers import ResponseParserError

from asbx.aws.answers import verdict_of
from asbx.aws.credentials import renew_when_expired, session
from asbx.config.limits import AWS_CONNECT_TIMEOUT, AWS_READ_TIMEOUT
from asbx.config.schema import Aws
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
        made = session(settings).client(
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
        renew_when_expired(made, settings)
        return made


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
    except OSError as error:  # the SDK wraps its own; what is left is a token file that cannot be read
        raise CloudError(
            "aws-credentials",
            f"credentials for {service} cannot be read",
            f"{error.filename or ''}: {error.strerror or error}",
            "check aws.web_identity.token_file, and that SlurmUser may read it",
            Verdict.PERMISSION,
        ) from error
    except failures.BotoCoreError as error:
        raise CloudError(
            "aws-sdk", f"{service} {action} failed in the SDK", _text(error), "report this", Verdict.UNKNOWN
        ) from error


# Calls botocore makes for credentials, on the way to the one that was meant.
_FOR_CREDENTIALS = ("AssumeRole", "AssumeRoleWithWebIdentity", "GetRoleCredentials", "CreateToken")


def _refused(service: str, action: str, error: failures.ClientError) -> CloudError:
    body = error.response.get("Error", {})
    code = str(body.get("Code", ""))
    if error.operation_name in _FOR_CREDENTIALS:
        return _no_role(error.operation_name, code, str(body.get("Message", "")), error)
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


def _no_role(action: str, code: str, said: str, error: failures.ClientError) -> CloudError:
    """Say that the role of the configuration is not to be had; trouble of the service itself may pass."""
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
    verdict = verdict_of(code, status)
    passing = verdict in (Verdict.TRANSIENT, Verdict.THROTTLED)
    return CloudError(
        "aws-credentials",
        f"{action} gave no credentials",
        f"{code}: {said[:900]}",
        "it may pass by itself"
        if passing
        else "the role's trust policy must name this identity and, if it asks for one, the external id of the "
        "configuration; `asbx iam policy --source` prints what the identity needs itself",
        verdict if passing else Verdict.PERMISSION,
    )


def _text(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
