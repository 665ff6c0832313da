"""The section about what EC2 announces: instances it takes back, ends, moves or repairs."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from asbx.config.section import Section


class Interruptions(Section):
    """What is done when EC2 announces that an instance will go. docs/how-to/spot-interruptions.md shows the queue."""

    queue: str = Field(default="", pattern=r"^(https?://\S+|[A-Za-z0-9_-]{1,80})?$")
    """Name or URL of the SQS queue that EventBridge fills with EC2's messages. Empty: none is read; then only the nodes
    themselves hear of an interruption, and the next sweep acts on it."""
    queue_account: str = Field(default="", pattern=r"^(\d{12})?$")
    """Account that owns the queue, where `queue` is a name and it is another account's."""
    rebalance: Literal["ignore", "no-new-jobs", "drain"] = "no-new-jobs"
    """What a rebalance recommendation does. `no-new-jobs`: jobs go on, and the node is powered down when it is idle.
    `drain`: as a spot warning, jobs are moved. `ignore`: it is only recorded."""
    signal: str = Field(default="", pattern=r"^([A-Z][A-Z0-9+-]{1,11}|[1-9][0-9]?)?$")
    """Signal for jobs on a node that will go, such as USR1, so that they can write a checkpoint. A program that does
    not handle it is ended by it. Empty: none."""
    signal_target: Literal["batch", "steps", "all"] = "batch"
    """Who gets the signal: the batch script, the job's steps, or both."""
    checkpoint_seconds: int = Field(default=60, ge=0, le=110)
    """How long after the signal a job may go on before it is requeued. Cut short where the instance ends sooner."""
    requeue: bool = True
    """Requeue the jobs of a node that will go, each whole. Jobs that may not be requeued run on until the end."""
    replace: bool = True
    """Let requeued jobs start again at once; Slurm itself waits two minutes."""

    @property
    def checkpoint(self) -> timedelta:
        """Return it as a duration."""
        return timedelta(seconds=self.checkpoint_seconds)
