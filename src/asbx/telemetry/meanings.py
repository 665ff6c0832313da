"""What each kind of event means, and how important it may be. docs/reference/events.md is made from this table."""

from __future__ import annotations

from dataclasses import dataclass

from asbx.model.event import EventKind

_INFO, _WARNING, _ERROR = ("info",), ("warning",), ("error",)


@dataclass(frozen=True)
class Meaning:
    """One sentence for administrators; levels: those the kind is said at."""

    text: str
    levels: tuple[str, ...] = _INFO


MEANINGS: dict[EventKind, Meaning] = {
    EventKind.PRICES_OLD: Meaning(
        "AWS does not tell prices, or `prices.file` cannot be read; what was learned before serves on.", _WARNING
    ),
    EventKind.PRICES_LEARNED: Meaning("Prices are learned again."),
    EventKind.DAEMON_STARTED: Meaning("The daemon serves the spool from now on."),
    EventKind.DAEMON_STOPPED: Meaning("The daemon was told to stop; what is open stays in the ledger."),
    EventKind.REQUEST_RECEIVED: Meaning("A call of one of Slurm's programs was taken from the spool into the ledger."),
    EventKind.REQUEST_ODD: Meaning(
        "Something about a request or a launch is not as it should be, and the work goes on.",
        ("debug", "info", "warning", "error"),
    ),
    EventKind.REQUEST_SET_ASIDE: Meaning("A spool file cannot be read; it is kept in `set-aside`.", _ERROR),
    EventKind.REQUEST_DONE: Meaning("All nodes of a request are served, or ended."),
    EventKind.REQUEST_FAILED: Meaning("At least one node of a request could not be served, or ended.", _ERROR),
    EventKind.NODE_REFUSED: Meaning("A request names a node that belongs to no group of the configuration.", _ERROR),
    EventKind.PLAN_NOTE: Meaning("A job or a plan asked for something it does not get, and why.", ("info", "warning")),
    EventKind.LADDER_PLANNED: Meaning(
        "What is going to be tried for a gang, in which order, and what is left out; a warning where nothing is left.",
        ("info", "warning"),
    ),
    EventKind.LAUNCH_ASKED: Meaning("A CreateFleet call is about to be made; it is in the ledger already."),
    EventKind.LAUNCH_ANSWERED: Meaning("EC2 launched all that was asked for."),
    EventKind.LAUNCH_REFUSED: Meaning("EC2 launched less than was asked for, or could not be asked.", _WARNING),
    EventKind.POOL_SHORT: Meaning("A pool, quota or subnet is short and is not asked for a while.", _WARNING),
    EventKind.SHORTAGE_FORGOTTEN: Meaning("An administrator said that a shortage is over."),
    EventKind.RESOURCE_MADE: Meaning("A placement group or launch template was made in EC2."),
    EventKind.RESOURCE_REMOVED: Meaning("A placement group or launch template was removed from EC2."),
    EventKind.NODE_BOUND: Meaning(
        "Nodes have their instances; its data names each pair. A warning where a reconcile pass found out.",
        ("info", "warning"),
    ),
    EventKind.NODE_REGISTERED: Meaning("slurmd of these nodes was seen to answer; its data has seconds since binding."),
    EventKind.NODE_RELEASED: Meaning(
        "A node was powered down and its instance ended; a warning where a reconcile pass did it.", ("info", "warning")
    ),
    EventKind.NODE_FAILED: Meaning(
        "Nodes did not come up, and Slurm was told; a warning where they never registered.", ("warning", "error")
    ),
    EventKind.JOB_POSTPONED: Meaning("A job whose launch came to nothing is put off, or held, and was told why."),
    EventKind.GIVEN_BACK: Meaning(
        "Instances that cannot be used were ended at once; an error where EC2 did not confirm it.",
        ("info", "warning", "error"),
    ),
    EventKind.INSTANCE_ENDED: Meaning("An instance was ended."),
    EventKind.INSTANCE_ORPHANED: Meaning(
        "A reconcile pass ended an instance nobody needs, or closed the books of one that is gone.", _WARNING
    ),
    EventKind.NODE_DRAINED: Meaning(
        "Nodes take no new job: their instances are unwell, end soon, or are not as configured.", _WARNING
    ),
    EventKind.NODE_UNDRAINED: Meaning("Nodes take jobs again.", ("info", "warning")),
    EventKind.FENCE_PUT_UP: Meaning("A reservation keeps jobs off nodes outside the time of their Capacity Block."),
    EventKind.FENCE_TAKEN_DOWN: Meaning("That reservation was removed."),
    EventKind.TOPOLOGY_WRITTEN: Meaning("Slurm was told anew where nodes are in EC2's network."),
    EventKind.RECONCILE_SKIPPED: Meaning("A part of a reconcile pass was left out: a side did not answer.", _WARNING),
    EventKind.PASS_FAILED: Meaning(
        "A part of the daemon's work failed; the next turn tries again.", ("info", "warning", "error")
    ),
    EventKind.TELEMETRY_OFF: Meaning("Nobody can ask for metrics or health: the port cannot be had.", _WARNING),
    EventKind.LIMIT_REFUSED: Meaning("A limit kept something from being launched, for good or for now.", _WARNING),
    EventKind.LIMIT_ALERT: Meaning(
        "A job's cost, or what all that runs costs an hour, is above a limit; nothing is stopped for it.", _WARNING
    ),
    EventKind.LIMIT_WARNED: Meaning(
        "A running job is above a limit: its nodes are drained, and it has a grace.", _WARNING
    ),
    EventKind.LIMIT_STOPPED: Meaning(
        "A job above a limit was requeued or cancelled, or its nodes were taken from it.", _WARNING
    ),
    EventKind.BOOT_FAILED: Meaning("An instance never became a node; it is counted once for its group.", _WARNING),
    EventKind.GROUP_CLOSED: Meaning("A group whose instances never become nodes launches nothing for a while.", _ERROR),
    EventKind.GROUP_PROBED: Meaning("One launch tries whether instances of a closed group become nodes again."),
    EventKind.GROUP_OPENED: Meaning("A closed group launches again: a node registered, or somebody said so."),
    EventKind.NODE_REPLACED: Meaning("A drained, idle node is powered down; the next job gets another instance."),
    EventKind.SPOT_INTERRUPTED: Meaning("EC2 will take a spot instance back within two minutes.", ("info", "warning")),
    EventKind.REBALANCE_RECOMMENDED: Meaning("EC2 may soon take a spot instance back.", ("info", "warning")),
    EventKind.HEALTH_SCHEDULED: Meaning("AWS has scheduled an event for an instance.", ("info", "warning")),
    EventKind.RESERVATION_INTERRUPTED: Meaning(
        "An instance will end because its reservation does.", ("info", "warning")
    ),
    EventKind.INSTANCE_LOST: Meaning("The instance of a node ended and nobody here ended it.", _WARNING),
    EventKind.NOTICE_UNKNOWN: Meaning(
        "Messages of the queue nobody here understands; counted and deleted.", ("debug",)
    ),
    EventKind.JOB_SIGNALLED: Meaning("A job on nodes that will go was sent its signal, to write a checkpoint."),
    EventKind.JOB_REQUEUED: Meaning("A job was taken off nodes that will go, and waits again.", _INFO),
    EventKind.JOB_LEFT: Meaning("A job that may not be requeued stays on a node that will go.", _WARNING),
    EventKind.QUEUE_SILENT: Meaning("The queue of interruption messages cannot be read.", _ERROR),
    EventKind.QUEUE_ANSWERS: Meaning("That queue is read again."),
    EventKind.SECURITY_WARNING: Meaning("Users, folders or keys are less safe than they could be.", _WARNING),
    EventKind.LEDGER_REBUILT: Meaning("The ledger was rebuilt from what EC2 and Slurm show.", _WARNING),
    EventKind.CONTROL_TAKEN: Meaning("Of two controllers this one works from now on."),
    EventKind.CONTROL_LEFT: Meaning("Of two controllers this one stands by from now on."),
    EventKind.RECONCILE_REPORT: Meaning("A reconcile pass found something it leaves to people.", _WARNING),
    EventKind.BUDGET_HELD: Meaning("Money of budgets is held for a job's launch."),
    EventKind.BUDGET_REFUSED: Meaning("A job is not launched: a budget, or the budget service, has no room.", _WARNING),
    EventKind.BUDGET_RELEASED: Meaning("What was held for a job's launch is given back."),
    EventKind.BUDGET_SETTLED: Meaning("What a launch cost is charged to a budget, in place of what was held."),
    EventKind.BUDGET_ALERT: Meaning("Spent and held money of a budget have reached a level of its alerts.", _WARNING),
    EventKind.BUDGET_GRANTED: Meaning("Somebody has added to what a budget may spend in its period."),
    EventKind.BUDGET_SERVICE_AWAY: Meaning("The budget service had no word; the policy was followed.", _WARNING),
    EventKind.BUDGET_SERVICE_TOLD: Meaning("The budget service was told what a launch cost."),
    EventKind.BUDGET_SERVICE_STUCK: Meaning(
        "It cannot be told what the budget service holds or has charged for a launch; nothing is repeated.", _ERROR
    ),
}
