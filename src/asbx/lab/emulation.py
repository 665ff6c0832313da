"""Start the EC2 emulator and speak to its lab side (`/_lab/...`), as every lab command does."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from typing import Any

from asbx.lab.layout import Layout
from asbx.lab.processes import Process, start, wait_until
from asbx.lab.record import Wishes
from asbx.lab.trouble import LabBroken, LabError

_PATIENCE_S = 30.0
_ANSWER_S = 30.0
# slurmctld believes that a node has booted only if the boot lies after its own request, in whole seconds; a slurmd that
# registers sooner than this is ignored until ResumeTimeout (seen on 22.05.8, about once in a hundred boots of 0.5 s).
LEAST_BOOT_S = 1.5
# EC2 lets a price hold for an hour of an instance's life. A lab's instances live for seconds, and a change of price
# must show: here and in the configuration of the lab's site.
BILLED_HOUR_S = 1


def start_emulator(layout: Layout, wishes: Wishes, environ: dict[str, str]) -> tuple[Process, str]:
    """Start the emulator and return it with its address. Raises LabBroken (`lab-emulator`)."""
    layout.emulator_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "asbx.lab.emulator", "--state-dir", str(layout.root)]
    command += ["--region", wishes.region, "--boot", str(max(wishes.boot_s, LEAST_BOOT_S))]
    log = layout.log / "emulator.log"
    process = start("emulator", command, log, environ)
    wait_until(lambda: layout.emulator_file.exists() or not process.is_alive, _PATIENCE_S)
    if not process.is_alive or not layout.emulator_file.exists():
        raise LabBroken("lab-emulator", "the EC2 emulator did not start", "", f"see {log}")
    url = json.loads(layout.emulator_file.read_text(encoding="utf-8"))["url"]
    url = str(url).rstrip("/")
    Control(url).post("knobs", {"billed_hour": BILLED_HOUR_S})
    return process, url


class Control:
    """The emulator's lab side."""

    def __init__(self, url: str) -> None:
        self._url = url
        # A proxy of the environment has no business between us and 127.0.0.1.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> Any:
        """Return what GET /_lab/PATH answers."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, object]) -> Any:
        """Return what POST /_lab/PATH answers."""
        return self._ask("POST", path, body)

    def delete(self, path: str) -> Any:
        """Return what DELETE /_lab/PATH answers."""
        return self._ask("DELETE", path, None)

    def _ask(self, method: str, path: str, body: dict[str, object] | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self._url}/_lab/{path}", data=data, method=method, headers={"Content-Type": "application/json"}
        )
        try:
            with self._opener.open(request, timeout=_ANSWER_S) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise LabError(
                "lab-refused", f"the emulator refuses {method} {path}", _reason(said), "check the names given"
            ) from None
        except OSError as error:
            raise LabBroken(
                "lab-emulator-silent", "the EC2 emulator does not answer", str(error), "see `asbx lab status`"
            ) from None
        return json.loads(text) if text else None


def _reason(text: str) -> str:
    try:
        answer = json.loads(text)
    except ValueError:
        return text[:300]
    return str(answer.get("error", answer) if isinstance(answer, dict) else answer)[:300]
