"""Turn a fresh EC2 instance into the Slurm node the controller means it to be, then get out of the way.

Sent whole as user data: one file, standard library only, Python 3.6 or newer. Learns the node name from the
instance's tags through metadata (IMDSv2), checks it against Slurm's own record and starts slurmd. Must never
let slurmd serve under a name whose address is another machine's.

Exit statuses: 0 serving, 2 bad settings, 3 no metadata, 4 no node name, 5 the name's address is not ours,
6 slurmd does not run.
"""

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from typing import Any, Callable, Dict, List
from urllib.error import HTTPError

Settings = Dict[str, Any]
DEFAULTS: Settings = {
    "conf_server": "",  # host[:port] of slurmctld: slurmd fetches its configuration (configless)
    "slurm_conf": "",  # or a slurm.conf on this machine
    "deadline_s": 300.0,  # for a name checked with Slurm, and again for the registration
    "first_pause_s": 0.5,
    "longest_pause_s": 10.0,
    "slurmd": "",  # full path, where it is not in the usual places
    "scontrol": "",
    "slurmd_args": [],
    "on_failure": "poweroff",  # or "stay", to log in and look
    "poweroff": ["shutdown", "-P", "now"],
    "watch_s": 5.0,  # how often a spot instance asks whether EC2 takes it back, as EC2 advises; 0: never
    "watch_rebalance": False,  # drain when EC2 recommends to leave, too
    "watch_hook": [],  # command run once a notice, with `spot-interruption` or `rebalance` and the node name added
}
PLACES = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin:/opt/slurm/sbin:/opt/slurm/bin"
BAD_SETTINGS, NO_METADATA, NO_NAME, WRONG_ADDRESS, NO_SLURMD = 2, 3, 4, 5, 6


class Failed(Exception):
    """The node cannot serve; `status` becomes the exit status."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class NotYet(Failed):
    """It may still come: ask again until the deadline."""


def say(text: str) -> None:
    """Put one line on the console (cloud-init copies standard error there)."""
    print("asbx-node: " + text, file=sys.stderr, flush=True)


def load_settings(text: str) -> Settings:
    """Read the JSON settings over the defaults; raises Failed on an unknown key or another type."""
    try:
        given = json.loads(text or "{}")
    except ValueError as error:
        raise Failed(BAD_SETTINGS, f"settings are not JSON: {error}") from error
    for key, value in given.items():
        known = DEFAULTS.get(key)
        if known is None or not isinstance(value, (int, float) if isinstance(known, float) else type(known)):
            raise Failed(BAD_SETTINGS, f"setting {key} is unknown or has the wrong type")
    return dict(DEFAULTS, **given)


def patiently(settings: Settings, what: str, ask: Callable[[], Any]) -> Any:
    """Call ask() with growing pauses until it stops raising NotYet or the deadline passes."""
    ends = time.monotonic() + settings["deadline_s"]
    pause, said = settings["first_pause_s"], ""
    while True:
        try:
            return ask()
        except NotYet as error:
            if str(error) != said:
                said = str(error)
                say(f"waiting for {what}: {said}")
            left = ends - time.monotonic()
            if left <= 0:
                raise Failed(error.status, f"no {what} in {settings['deadline_s']:g} s: {said}") from error
            time.sleep(min(pause, left))
            pause = min(pause * 1.6, settings["longest_pause_s"])


class Metadata:
    """Instance metadata, version 2: every question carries a session token."""

    def __init__(self, endpoint: str) -> None:
        self.base = endpoint.rstrip("/") + "/latest/"
        self.token = ""
        # A proxy of the environment must not see metadata requests.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _ask(self, method: str, path: str, header: str, value: str) -> str:
        request = urllib.request.Request(self.base + path, headers={header: value}, method=method)
        with self.opener.open(request, timeout=5) as answer:
            return str(answer.read().decode("utf-8")).strip()

    def get(self, path: str) -> str:
        """Return a value, "" where there is none (404); raises NotYet while the service is silent."""
        try:
            if not self.token:
                self.token = self._ask("PUT", "api/token", "X-aws-ec2-metadata-token-ttl-seconds", "21600")
            return self._ask("GET", "meta-data/" + path, "X-aws-ec2-metadata-token", self.token)
        except HTTPError as error:
            if error.code == 404:
                return ""
            self.token = ""  # 401: expired
            raise NotYet(NO_METADATA, f"HTTP {error.code} for {path}") from error
        except OSError as error:
            raise NotYet(NO_METADATA, f"no answer from {self.base} ({error})") from error

    def must(self, path: str) -> str:
        """Return a value every instance has."""
        value = self.get(path)
        if not value:
            raise NotYet(NO_METADATA, f"{path} is missing")
        return value


def expand(folded: str) -> List[str]:
    """Expand a hostlist in its own order: `a-[000-002,7],b-1`. Raises ValueError on a malformed one."""
    names: List[str] = []
    parts = re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", folded)
    if not parts or ",".join(parts) != folded:
        raise ValueError(f"malformed node list {folded!r}")
    for part in parts:
        grown = [""]
        for text, ranges in re.findall(r"([^\[\]]+)|\[([^\[\]]*)\]", part):
            pieces = [text] if text else expand_ranges(ranges)
            grown = [left + right for left in grown for right in pieces]
        names.extend(grown)
    return names


def expand_ranges(ranges: str) -> List[str]:
    """Expand `000-002,7` to 000 001 002 7; the width of the first number is kept."""
    numbers: List[str] = []
    for item in ranges.split(","):
        match = re.match(r"^(\d+)(?:-(\d+))?$", item)
        if not match:
            raise ValueError(f"malformed range {item!r}")
        first, last = match.group(1), match.group(2) or match.group(1)
        numbers.extend(str(n).zfill(len(first)) for n in range(int(first), int(last) + 1))
    return numbers


def shared_list(metadata: Metadata) -> str:
    """Return `<reservation>=<hostlist>` put together from asbx:nodes, asbx:nodes.2, ...; "" while incomplete.

    A tag value holds 256 characters; one that goes on in the next tag ends in `+`.
    """
    whole, number = "", 1
    while True:
        value = metadata.get("tags/instance/asbx:nodes" + (f".{number}" if number > 1 else ""))
        if not value.endswith("+"):
            return whole + value if value else ""
        whole, number = whole + value[:-1], number + 1


def node_name(metadata: Metadata) -> str:
    """Work out the node name; raises NotYet while the controller has not tagged this instance."""
    own = metadata.get("tags/instance/asbx:node")
    if own:
        return own
    shared = shared_list(metadata)
    if not shared:
        if not metadata.get("tags/instance"):
            raise NotYet(NO_NAME, "no tags in metadata; the template needs InstanceMetadataTags=enabled")
        raise NotYet(NO_NAME, "no asbx:node or asbx:nodes tag yet")
    reservation, _, folded = shared.partition("=")
    ours, index = metadata.must("reservation-id"), int(metadata.must("ami-launch-index"))
    if reservation != ours:
        raise NotYet(NO_NAME, f"asbx:nodes speaks of {reservation}, we are of {ours}")
    try:
        return expand(folded)[index]
    except (ValueError, IndexError) as error:
        raise NotYet(NO_NAME, f"asbx:nodes has no entry {index} ({error})") from error


def find(settings: Settings, program: str) -> str:
    """Return the full path of a Slurm program, or ""."""
    return settings[program] or shutil.which(program, path=os.environ.get("PATH", "") + ":" + PLACES) or ""


def run(command: List[str], **more: Any) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end; both of its outputs come back as one text."""
    more.update(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    return subprocess.run(command, universal_newlines=True, check=False, **more)


def checked_state(settings: Settings, name: str, ours: str) -> List[str]:
    """Return the state flags of our node once slurmctld holds it at our address; raises NotYet before."""
    conf = {"SLURM_CONF": settings["slurm_conf"]} if settings["slurm_conf"] else {}
    try:
        asked = run([find(settings, "scontrol"), "-o", "show", "node", name], env=dict(os.environ, **conf))
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotYet(WRONG_ADDRESS, f"scontrol: {error}") from error
    # Both fields stand before the line's free text (comments), so the first match is Slurm's own word.
    address, state = (re.search(rf"\b{key}=(\S+)", asked.stdout) for key in ("NodeAddr", "State"))
    if asked.returncode or not address or not state:
        raise NotYet(WRONG_ADDRESS, "scontrol: " + " ".join(asked.stdout.split())[:200])
    held = address.group(1)
    try:
        same = held != name and socket.gethostbyname(held) == ours
    except OSError:
        same = False
    if not same:
        raise NotYet(WRONG_ADDRESS, f"Slurm has {name} at {held}, we are {ours}")
    return state.group(1).rstrip("*").split("+")


def slurmd_command(settings: Settings, name: str, facts: Dict[str, str]) -> List[str]:
    """Return slurmd's command line. -b: booted just now, else Slurm waits for a reboot it never sees."""
    slurmd = find(settings, "slurmd")
    command = [slurmd, "-D", "-N", name, "-b"]
    if settings["conf_server"]:
        command += ["--conf-server", settings["conf_server"]]
    elif settings["slurm_conf"]:
        command += ["-f", settings["slurm_conf"]]
    known = run([slurmd, "--help"]).stdout
    for option in ("instance-id", "instance-type"):  # Slurm 23.11 and newer
        if "--" + option in known:
            command += ["--" + option, facts[option]]
    return command + list(settings["slurmd_args"])


def unlock_memory() -> None:
    """Let jobs pin memory, as MPI over EFA must; only root may."""
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError) as error:
        say(f"locked memory stays limited: {error}")


def serve(settings: Settings, name: str, ours: str, command: List[str]) -> None:
    """Start slurmd, watch until Slurm sees the node up; raises Failed, with slurmd ended, if it cannot."""
    say("starting " + " ".join(command))
    slurmd = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def registered() -> None:
        if slurmd.poll() is not None:
            raise Failed(NO_SLURMD, f"slurmd ended with status {slurmd.returncode}")
        state = checked_state(settings, name, ours)
        if {"POWERING_UP", "POWERED_DOWN", "NOT_RESPONDING"} & set(state):
            raise NotYet(NO_SLURMD, "node state is " + "+".join(state))

    try:
        patiently(settings, "registration", registered)
    except Failed as error:
        if slurmd.poll() is None and error.status == NO_SLURMD:
            say(f"{error}; slurmd keeps trying")
            return
        if slurmd.poll() is None:
            slurmd.terminate()
            slurmd.wait()
        raise


def noticed(settings: Settings, metadata: Metadata, instance: str) -> List[str]:
    """Return what EC2 announces as [kind, drain reason], [] for nothing; raises NotYet while metadata is silent.

    The reason is the one the controller writes itself (decide/interrupt.py), so neither of them minds the other.
    """
    action = metadata.get("spot/instance-action")
    if action:
        when = re.search(r'"time"\s*:\s*"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"', action)
        until = " at " + when.group(1) if when else ""
        return ["spot-interruption", f"asbx:spot-interruption {instance} EC2 takes its spot instance back{until}"]
    if settings["watch_rebalance"] and metadata.get("events/recommendations/rebalance"):
        return ["rebalance", f"asbx:rebalance {instance} EC2 may soon take its spot instance back"]
    return []


def drain(settings: Settings, name: str, ours: str, reason: str) -> None:
    """Let Slurm give our node no new job; raises NotYet where it does not, or has the node elsewhere by now."""
    checked_state(settings, name, ours)
    conf = {"SLURM_CONF": settings["slurm_conf"]} if settings["slurm_conf"] else {}
    command = [find(settings, "scontrol"), "update", "nodename=" + name, "state=drain", "reason=" + reason]
    done = run(command, env=dict(os.environ, **conf))
    if done.returncode:
        raise NotYet(WRONG_ADDRESS, "scontrol: " + " ".join(done.stdout.split())[:200])


def watch(settings: Settings, metadata: Metadata, name: str, facts: Dict[str, str]) -> None:
    """Drain our node when EC2 announces that it takes this instance back. Never returns."""
    told: List[str] = []
    while True:
        time.sleep(settings["watch_s"])
        try:
            found = noticed(settings, metadata, facts["instance-id"])
            if found in ([], told):
                continue
            drain(settings, name, facts["local-ipv4"], found[1])
            told = found
            say("drained: " + found[1])
            if settings["watch_hook"]:
                run([*settings["watch_hook"], found[0], name])
        except (Failed, OSError, ValueError, subprocess.SubprocessError) as error:
            say(f"watching: {error}")


def leave_watcher(settings: Settings, metadata: Metadata, name: str, facts: Dict[str, str]) -> None:
    """Leave a process behind that watches, one for each instance, where EC2 may take it back at all."""
    if not settings["watch_s"] or metadata.get("instance-life-cycle") != "spot":
        return
    guard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        guard.bind("\0asbx-watch-" + facts["instance-id"])  # let go when its process ends, however it does
    except OSError:
        return
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            watch(settings, metadata, name, facts)
        finally:
            os._exit(1)
    guard.close()
    say(f"process {child} watches for the interruption of this spot instance")


def bootstrap(settings: Settings) -> None:
    """Do it all; raises Failed."""
    for program in ("slurmd", "scontrol"):
        if not find(settings, program):
            raise Failed(NO_SLURMD, program + " is not installed")
    metadata = Metadata(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254")
    wanted = ("instance-id", "instance-type", "local-ipv4")
    facts = patiently(settings, "instance metadata", lambda: {key: metadata.must(key) for key in wanted})
    ours = facts["local-ipv4"]
    say("instance {instance-id} ({instance-type}) at {local-ipv4}".format(**facts))

    def learn() -> str:
        name = node_name(metadata)
        # Configless, scontrol can ask only after slurmd has fetched the configuration: serve() checks then.
        if not settings["conf_server"]:
            checked_state(settings, name, ours)
        return name

    name = patiently(settings, "node name", learn)
    unlock_memory()
    serve(settings, name, ours, slurmd_command(settings, name, facts))
    say("serving as " + name)
    leave_watcher(settings, metadata, name, facts)


def main() -> int:
    """Run; on failure say why and, where so set, power off: a useless instance must not cost money."""
    # A slurmd that inherits blocked or ignored signals can never be stopped.
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    settings = DEFAULTS
    try:
        settings = load_settings(os.environ.pop("ASBX_NODE_SETTINGS", ""))
        bootstrap(settings)
    except Failed as error:
        say(f"FAILED (status {error.status}): {error}")
        if settings["on_failure"] == "poweroff":
            say("powering off")
            subprocess.call(settings["poweroff"], stdin=subprocess.DEVNULL)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
