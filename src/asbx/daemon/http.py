"""The daemon's HTTP page: /metrics for Prometheus, /healthz for whoever watches. It changes nothing."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Thread
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from asbx.config.limits import SCRAPE_TIMEOUT, SCRAPES_AT_ONCE

Health = Callable[[], tuple[bool, dict[str, Any]]]


class Page:
    """Serves on an address until closed. Raises OSError when the address cannot be had."""

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry, health: Health) -> None:
        self._server = _Server(address, registry, health)
        self._thread = Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Return where it is."""
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    # Another daemon's port is in use, not to be shared; one of ours that has just ended may be taken at once.
    allow_reuse_address = True
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry, health: Health) -> None:
        self.registry, self.health = registry, health
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._places = BoundedSemaphore(SCRAPES_AT_ONCE)
        super().__init__(address, _Answer)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread; callers above the limit are sent away."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and leave the place to the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a caller that hangs up is no trouble of ours."""


class _Answer(BaseHTTPRequestHandler):
    server: _Server
    timeout = SCRAPE_TIMEOUT.total_seconds()
    server_version = "asbx"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one of the two paths."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._send(200, content_type, encode(self.server.registry))
        elif path == "/healthz":
            good, body = self.server.health()
            self._send(200 if good else 503, "application/json", json.dumps(body, indent=2).encode() + b"\n")
        else:
            self._send(404, "text/plain; charset=utf-8", b"here are /metrics and /healthz\n")

    do_HEAD = do_GET  # noqa: N815  the name http.server looks for

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  named by http.server
        """Keep each scrape out of the log."""
