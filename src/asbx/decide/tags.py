"""The tags of everything we launch. All are in the launch call itself, so that nothing is ever without them."""

from __future__ import annotations

from collections.abc import Iterable

from asbx.config.limits import TAG_VALUE_MAX
from asbx.config.schema import Config, NodeGroup
from asbx.model.record import Intent


def launch_tags(
    config: Config, group: NodeGroup, intent: Intent, granted: Iterable[tuple[str, str]] = ()
) -> tuple[tuple[str, str], ...]:
    """Return the tags of one launch, ours last so that others cannot replace them. granted: those a plan may set."""
    ours = {
        "ManagedBy": "aws-slurm-burst",
        "asbx:cluster": config.cluster.name,
        "asbx:partition": intent.group.partition,
        "asbx:nodegroup": intent.group.group,
        "asbx:intent": intent.intent_id,
        "asbx:gang": intent.gang_id[:TAG_VALUE_MAX],
        "asbx:job": _jobs(intent.jobs),
        "asbx:user": intent.user,
        "asbx:account": intent.account,
    }
    tags = (
        dict(granted)
        | {tag.key: tag.value for tag in group.tags}
        | {key: value for key, value in ours.items() if value}
    )
    return tuple(sorted(tags.items()))


def _jobs(jobs: tuple[int, ...]) -> str:
    """Return job ids, or the first of them and `...` where they do not fit a tag."""
    text = ",".join(str(job) for job in jobs)
    return text if len(text) <= TAG_VALUE_MAX else text[: TAG_VALUE_MAX - 4].rsplit(",", 1)[0] + "..."
