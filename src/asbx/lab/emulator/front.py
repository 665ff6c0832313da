"""Sort requests: to the lab's door, to instance metadata, to Pricing, or to moto's services.

AWS calls are counted here, and faults strike here, so that they reach every SDK and every language alike.
"""

from __future__ import annotations

import io
import json
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from moto.core.utils import camelcase_to_underscores
from moto.ec2.responses import EC2Response
from moto.server import DomainDispatcherApplication, create_backend_app

from asbx.lab.emulator.bus import Bus
from asbx.lab.emulator.control import BadRequestError, Control
from asbx.lab.emulator.faults import DROP_ANSWER, OVERRIDE_REFUSALS, Fault, FaultBook
from asbx.lab.emulator.imds import MetadataService
from asbx.lab.emulator.instance_xml import error_document
from asbx.lab.emulator.price_list import PricingError, get_products
from asbx.lab.emulator.quota_calls import SERVICE, NoSuchResourceError, get_service_quota, list_service_quotas
from asbx.lab.emulator.world import World

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

_log = logging.getLogger(__name__)
_XML, _JSON = "text/xml;charset=UTF-8", "application/json"
_AMZ_JSON = "application/x-amz-json-1.1"
# STS takes these without a signature: who asks has a token of somebody else's (STS API reference).
_UNSIGNED = ("AssumeRoleWithWebIdentity", "AssumeRoleWithSAML")
_QUOTA_CALLS = {
    "GetServiceQuota": get_service_quota,
    "GetAWSDefaultServiceQuota": get_service_quota,
    "ListServiceQuotas": list_service_quotas,
    "ListAWSDefaultServiceQuotas": list_service_quotas,
}


class DropAnswerError(Exception):
    """Cut the connection without an answer: the server's sign, not a fault of ours."""


class Front:
    """A WSGI application round moto's."""

    def __init__(self, world: World, faults: FaultBook, base_url: Callable[[], str]) -> None:
        self._world = world
        self._faults = faults
        self._control = Control(world, faults, Bus(world), base_url)
        self._metadata = MetadataService(world)
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        path = str(environ["PATH_INFO"])
        if path == "/_lab" or path.startswith("/_lab/"):
            return self._lab(environ, start, path[len("/_lab") :].strip("/"))
        if path.startswith("/_imds/"):
            headers = {k[5:].replace("_", "-").lower(): v for k, v in environ.items() if k.startswith("HTTP_")}
            reply = self._metadata.answer(environ["REQUEST_METHOD"], path[len("/_imds/") :], headers)
            return _send(start, reply.status, reply.body, reply.content_type)
        return self._aws(environ, start)

    def _lab(self, environ: Environ, start: StartResponse, path: str) -> Iterable[bytes]:
        try:
            answer, status = self._control.answer(environ["REQUEST_METHOD"], path, _json_body(environ)), 200
        except BadRequestError as error:
            answer, status = {"error": str(error)}, error.status
        except json.JSONDecodeError as error:
            answer, status = {"error": f"not JSON: {error}"}, 400
        return _send(start, status, json.dumps(answer).encode(), _JSON)

    # -- AWS

    def _aws(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        body = _body(environ)
        environ["wsgi.input"] = io.BytesIO(body)
        action = _action(environ, body)
        fault, refusals = self._faults.take(action) if action else (None, ())
        OVERRIDE_REFUSALS.set(refusals)
        time.sleep(max((refusal.latency for refusal in refusals), default=0.0))
        if fault and fault.then == DROP_ANSWER:
            # The caller must not be able to tell a lost answer from a lost request.
            _drain(self._serve(environ, lambda *_: None, action, body))
            time.sleep(fault.latency)
            raise DropAnswerError
        if fault and fault.latency:
            time.sleep(fault.latency)
        if fault and fault.code:
            return _strike(environ, start, fault)
        return self._serve(environ, start, action, body)

    def _serve(self, environ: Environ, start: StartResponse, action: str, body: bytes) -> Iterable[bytes]:
        target = str(environ.get("HTTP_X_AMZ_TARGET", ""))
        if target.startswith("AWSPriceListService."):
            return self._pricing(start, action, body)
        if target.startswith("ServiceQuotas") and action in _QUOTA_CALLS:
            asked = json.loads(body or b"{}")
            if asked.get("ServiceCode") == SERVICE:
                return self._quotas(start, action, asked)
        ours = _service(environ) == "ec2" and action not in _UNSIGNED
        if ours and action and not hasattr(EC2Response, camelcase_to_underscores(action)):
            text = f"The action {action} is not valid for this web service."
            return _send(start, 400, error_document("InvalidAction", text, str(uuid.uuid4())).encode(), _XML)
        try:
            answer: Iterable[bytes] = self._moto(environ, start)
        except NotImplementedError as error:
            # Moto raises it for parts it lacks, a filter for example; as a page of HTML the SDKs would retry it.
            return _strike(environ, start, Fault(action, "UnsupportedOperation", message=str(error)))
        except Exception:  # noqa: BLE001  # this program's edge: what fails in moto must reach the client as an error
            _log.exception("%s failed", action)
            return _strike(environ, start, Fault(action, "InternalError", status=500, message="An internal error"))
        return answer

    def _pricing(self, start: StartResponse, action: str, body: bytes) -> Iterable[bytes]:
        if action != "GetProducts":
            error = {"__type": "InvalidParameterException", "message": f"{action} is not served here"}
            return _send(start, 400, json.dumps(error).encode(), _AMZ_JSON)
        try:
            with self._world.lock:
                answer, status = get_products(self._world, json.loads(body or b"{}")), 200
        except PricingError as error:
            answer, status = {"__type": error.code, "message": str(error)}, 400
        return _send(start, status, json.dumps(answer).encode(), _AMZ_JSON)

    def _quotas(self, start: StartResponse, action: str, asked: Mapping[str, Any]) -> Iterable[bytes]:
        try:
            with self._world.lock:
                answer, status = _QUOTA_CALLS[action](self._world, asked), 200
        except NoSuchResourceError as error:
            answer, status = {"__type": "NoSuchResourceException", "Message": str(error)}, 400
        return _send(start, status, json.dumps(answer).encode(), _AMZ_JSON)


def _body(environ: Environ) -> bytes:
    length = int(environ.get("CONTENT_LENGTH") or 0)
    return bytes(environ["wsgi.input"].read(length)) if length else b""


def _json_body(environ: Environ) -> dict[str, Any]:
    body = json.loads(_body(environ) or b"{}")
    if not isinstance(body, dict):
        raise BadRequestError("the body must be a JSON object")
    return body


def _action(environ: Environ, body: bytes) -> str:
    target = str(environ.get("HTTP_X_AMZ_TARGET", ""))
    if target:
        return target.rpartition(".")[2]
    text = urlsplit(f"?{environ.get('QUERY_STRING', '')}").query
    if str(environ.get("CONTENT_TYPE", "")).startswith("application/x-www-form-urlencoded"):
        # Action is among the first parameters an SDK writes; the rest may be thousands.
        text = body.decode("utf-8", "replace") or text
    return next((value for key, value in parse_qsl(text) if key == "Action"), "")


def _service(environ: Environ) -> str:
    """Return the service a request is signed for (SigV4 credential scope), EC2 if it is not signed."""
    scope = str(environ.get("HTTP_AUTHORIZATION", "")).partition("Credential=")[2].partition(",")[0].split("/")
    return scope[3] if len(scope) > 3 else "ec2"


def _strike(environ: Environ, start: StartResponse, fault: Fault) -> Iterable[bytes]:
    if environ.get("HTTP_X_AMZ_TARGET"):
        body = json.dumps({"__type": fault.code, "message": fault.message}).encode()
        return _send(start, fault.status, body, _AMZ_JSON)
    body = error_document(fault.code, fault.message, str(uuid.uuid4())).encode()
    return _send(start, fault.status, body, _XML)


def _drain(answer: Iterable[bytes]) -> None:
    for _ in answer:
        pass


def _send(start: StartResponse, status: int, body: bytes, content_type: str) -> Iterable[bytes]:
    start(
        f"{status} {HTTPStatus(status).phrase}",
        [("Content-Type", content_type), ("Content-Length", str(len(body)))],
    )
    return [body]
