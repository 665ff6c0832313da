"""The errors of EC2's interface, as moto serialises them: HTTP 400 with a code and a text."""

from __future__ import annotations

from moto.ec2.exceptions import DryRunClientError, EC2ClientError

__all__ = ["DryRunClientError", "Ec2Error", "ThrottledError", "invalid_combination", "invalid_value", "missing"]


class Ec2Error(EC2ClientError):  # type: ignore[misc]  # moto ships no types
    """EC2 refuses the call as a whole."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)


class ThrottledError(Ec2Error):
    """EC2 refuses the call for its rate (EC2 API reference, "Request throttling"); answered with HTTP 503."""

    def __init__(self) -> None:
        super().__init__("RequestLimitExceeded", "Request limit exceeded.")


def missing(parameter: str) -> Ec2Error:
    """Return the error for a parameter that must be there."""
    return Ec2Error("MissingParameter", f"The request must contain the parameter {parameter}")


def invalid_value(message: str) -> Ec2Error:
    """Return the error for a parameter's value."""
    return Ec2Error("InvalidParameterValue", message)


def invalid_combination(message: str) -> Ec2Error:
    """Return the error for parameters that exclude or need each other."""
    return Ec2Error("InvalidParameterCombination", message)
