"""The floor of a launch: bare CreateFleet calls with a warm client, one after another or some at a time, no more.

Started by gang.py. Each line read is JSON: requests (of CreateFleet) and at_once. Their placement groups are made
before the clock runs, because EC2 wants them there. Prints seconds and the instance ids of all answers.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3


def main() -> None:
    """Serve until standard input ends."""
    ec2 = boto3.client("ec2", region_name=sys.argv[1])
    ec2.describe_instances(MaxResults=5)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        for group in sorted(groups_of(asked["requests"])):
            ec2.create_placement_group(GroupName=group, Strategy="cluster")
        print(json.dumps(launch(ec2, asked["requests"], asked["at_once"])), flush=True)


def groups_of(requests: list[dict[str, Any]]) -> set[str]:
    """Return the placement groups that requests name."""
    overrides = [one for asked in requests for config in asked["LaunchTemplateConfigs"] for one in config["Overrides"]]
    return {one["Placement"]["GroupName"] for one in overrides if "Placement" in one}


def launch(ec2: Any, requests: list[dict[str, Any]], at_once: int) -> dict[str, Any]:
    """Make the calls; return how long they took and what they launched."""
    start = time.perf_counter()
    if at_once == 1:
        answers = [ec2.create_fleet(**asked) for asked in requests]
    else:
        with ThreadPoolExecutor(at_once) as pool:
            answers = list(pool.map(lambda asked: ec2.create_fleet(**asked), requests))
    seconds = time.perf_counter() - start
    ids = [one for answer in answers for item in answer["Instances"] for one in item["InstanceIds"]]
    return {"seconds": seconds, "ids": ids}


if __name__ == "__main__":
    main()
