"""`asbx lab spot|instance|event …`: machines of the pretend EC2 that are taken away, or misbehave."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from asbx.cli.lab_ask import JsonOption, NodeOption, StateDirOption, ask, confirm

spot = typer.Typer(rich_markup_mode=None, help="Reclaim of Spot instances.")
instance = typer.Typer(rich_markup_mode=None, help="Machines that misbehave.")
event = typer.Typer(rich_markup_mode=None, help="What AWS schedules for instances.")


@spot.command("interrupt")
def spot_interrupt(
    node: NodeOption,
    notice: Annotated[float, typer.Option("--notice", help="Seconds between the notice and the reclaim.")] = 120.0,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reclaim a Spot instance: notice now, termination after --notice seconds.

    The notice is in the instance's metadata, and as EC2's own message in the lab's queue. That message names no time:
    ASBX takes EC2's two minutes for granted, whatever --notice says.

    Example: asbx lab spot interrupt --node aws-cpu-003 --notice 30
    """
    row = ask(state_dir, "POST", f"machines/{quote(node, safe='')}", {"state": "interrupted", "notice": notice})
    confirm(row, f"{row['id']}: reclaimed in {notice:g} s", as_json=as_json)


@spot.command("rebalance")
def spot_rebalance(node: NodeOption, state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Recommend to leave a Spot instance, which goes on running.

    Example: asbx lab spot rebalance --node aws-cpu-003
    """
    row = ask(state_dir, "POST", f"machines/{quote(node, safe='')}", {"state": "rebalance"})
    confirm(row, f"{row['id']}: rebalance recommended", as_json=as_json)


@instance.command("retire")
def instance_retire(node: NodeOption, state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Have AWS Health announce that an instance will be retired in two weeks.

    Example: asbx lab instance retire --node aws-cpu-003
    """
    row = ask(state_dir, "POST", f"machines/{quote(node, safe='')}", {"state": "retirement"})
    confirm(row, f"{row['id']}: will be retired", as_json=as_json)


@instance.command("kill")
def instance_kill(node: NodeOption, state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """End an instance at once, as if its host died.

    Example: asbx lab instance kill --node aws-cpu-003
    """
    row = ask(state_dir, "POST", f"machines/{quote(node, safe='')}", {"state": "killed"})
    confirm(row, f"{row['id']}: dead", as_json=as_json)


@instance.command("hang")
def instance_hang(node: NodeOption, state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Let an instance run without ever booting: EC2 says running, slurmd never registers.

    Takes effect if the instance has not booted yet.

    Example: asbx lab instance hang --node aws-cpu-003
    """
    row = ask(state_dir, "POST", f"machines/{quote(node, safe='')}", {"state": "hung"})
    confirm(row, f"{row['id']}: hangs", as_json=as_json)


@instance.command("impair")
def instance_impair(
    node: NodeOption,
    system: Annotated[bool, typer.Option("--system", help="Not the instance's check fails but its host's.")] = False,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a status check of an instance fail from now on. The machine itself goes on.

    Example: asbx lab instance impair --node aws-cpu-003 --system
    """
    what = "system" if system else "instance"
    row = ask(state_dir, "POST", f"machines/{quote(node, safe='')}", {"state": "impaired", "what": what})
    confirm(row, f"{row['id']}: {what} status check impaired", as_json=as_json)


@instance.command("heal")
def instance_heal(node: NodeOption, state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Let all status checks of an instance pass again, and complete the events scheduled for it.

    Example: asbx lab instance heal --node aws-cpu-003
    """
    row = ask(state_dir, "POST", f"machines/{quote(node, safe='')}", {"state": "well"})
    confirm(row, f"{row['id']}: well", as_json=as_json)


@event.command("add")
def event_add(
    node: NodeOption,
    code: Annotated[
        str,
        typer.Option(
            "--code",
            help="instance-reboot, system-reboot, system-maintenance, instance-retirement or instance-stop.",
        ),
    ],
    not_before: Annotated[float, typer.Option("--not-before", help="Seconds from now.")] = 0.0,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Announce an event for an instance, as AWS does days ahead; nothing happens to it by itself.

    Example: asbx lab event add --node aws-cpu-003 --code instance-retirement --not-before 3600
    """
    body = {"state": "event", "code": code, "not_before": not_before}
    row = ask(state_dir, "POST", f"machines/{quote(node, safe='')}", body)
    confirm(row, f"{row['id']}: {code} in {not_before:g} s", as_json=as_json)
