"""A door before the pretend EC2 that sees who signs. It stands in for the metadata service and the SSO portal, too.

STS and EC2 are the emulator's. Paths: EC2 user guide, "Instance metadata" (security-credentials); IAM Identity Center
portal API, GetRoleCredentials.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_CREDENTIAL = re.compile(r"Credential=([^/]+)/")
_EXPIRED = (
    "<Response><Errors><Error><Code>RequestExpired</Code><Message>Request has expired.</Message></Error></Errors>"
    "<RequestID>1</RequestID></Response>"
)
_DENIED = (
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
    "<Code>AccessDenied</Code><Message>not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>"
)


@dataclass
class Call:
    """One request as it came: action, who signed it ("" for nobody), its parameters."""

    action: str
    key: str
    asked: dict[str, str]


@dataclass
class Gateway:
    """calls: what came. expired: access keys whose EC2 calls are refused. lifetime: of what metadata hands out."""

    url: str
    behind: str
    calls: list[Call] = field(default_factory=list)
    expired: set[str] = field(default_factory=set)
    denies_roles: bool = False
    lifetime: timedelta = timedelta(hours=6)
    handed: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def made(self, action: str) -> list[Call]:
        """Return the calls of one action."""
        return [call for call in self.calls if call.action == action]

    def hand_out(self, prefix: str) -> dict[str, str]:
        """Return fresh credentials in the spelling of the metadata service."""
        with self.lock:
            self.handed.append(f"ASIA{prefix}{len(self.handed):04d}")
            ends = (datetime.now(UTC) + self.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ")
            return {
                "Code": "Success",
                "Type": "AWS-HMAC",
                "AccessKeyId": self.handed[-1],
                "SecretAccessKey": "secret",
                "Token": "token",
                "Expiration": ends,
                "LastUpdated": ends,
            }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gateway: Gateway

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet."""

    def do_PUT(self) -> None:
        """Hand out a metadata token."""
        self._send(200, "imds-token", {"x-aws-ec2-metadata-token-ttl-seconds": "60"})

    def do_GET(self) -> None:
        """Be the metadata service, or the SSO portal."""
        path = urlsplit(self.path).path
        if path == "/federation/credentials":
            made = self.gateway.hand_out("SSO")
            self.gateway.calls.append(Call("GetRoleCredentials", "", {"token": self.headers["x-amz-sso_bearer_token"]}))
            ends = int((datetime.now(UTC) + self.gateway.lifetime).timestamp() * 1000)
            body = {
                "accessKeyId": made["AccessKeyId"],
                "secretAccessKey": "secret",
                "sessionToken": "token",
                "expiration": ends,
            }
            self._send(200, json.dumps({"roleCredentials": body}))
        elif self.headers.get("x-aws-ec2-metadata-token") != "imds-token":
            self._send(401, "")
        elif path.endswith("/iam/security-credentials/"):
            self._send(200, "node-role")
        elif path.endswith("/iam/security-credentials/node-role"):
            self._send(200, json.dumps(self.gateway.hand_out("IMDS")))
        else:
            self._send(404, "")

    def do_POST(self) -> None:
        """Note who asks what, and pass it on."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        found = _CREDENTIAL.search(self.headers.get("Authorization", ""))
        call = Call(asked.get("Action", ""), found[1] if found else "", asked)
        self.gateway.calls.append(call)
        if call.action.startswith("AssumeRole") and self.gateway.denies_roles:
            self._send(403, _DENIED, {"Content-Type": "text/xml"})
        elif call.key in self.gateway.expired:
            self._send(400, _EXPIRED, {"Content-Type": "text/xml"})
        else:
            self._forward(body)

    def _forward(self, body: bytes) -> None:
        behind = HTTPConnection(urlsplit(self.gateway.behind).netloc, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        behind.request("POST", self.path, body, headers)
        answer = behind.getresponse()
        text = answer.read().decode()
        behind.close()
        self._send(answer.status, text, {"Content-Type": answer.headers.get("Content-Type", "text/xml")})

    def _send(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking a resolver for the host's name."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


@contextmanager
def serve(behind: str) -> Iterator[Gateway]:
    """Serve on loopback before another address."""
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as server:
        gateway = Gateway(f"http://127.0.0.1:{server.server_port}", behind)
        handler.gateway = gateway  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
        thread.start()
        try:
            yield gateway
        finally:
            server.shutdown()
            thread.join()
