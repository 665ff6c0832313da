"""The floor of a burst: for each number read one CreateFleet, its DescribeInstances, one scontrol update, no more.

Started by burst.py with its setting as JSON; prints the instance ids of each round.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys

import boto3


def main() -> None:
    """Serve until standard input ends."""
    setting = json.loads(sys.argv[1])
    ec2 = boto3.client("ec2", region_name=setting["region"])
    template = {"Version": setting["template"]["version"]}
    if setting["template"]["launch_template_id"]:
        template["LaunchTemplateId"] = setting["template"]["launch_template_id"]
    else:
        template["LaunchTemplateName"] = setting["template"]["launch_template_name"]
    overrides = [
        {"InstanceType": kind, "SubnetId": subnet} for kind in setting["types"] for subnet in setting["subnets"]
    ]
    ec2.describe_instances(MaxResults=5)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        print(json.dumps(burst(ec2, template, overrides, int(line))), flush=True)


def burst(ec2: object, template: dict[str, str], overrides: list[dict[str, str]], count: int) -> list[str]:
    """Launch, describe, tell Slurm; return the ids."""
    answer = ec2.create_fleet(  # type: ignore[attr-defined]
        Type="instant",
        TargetCapacitySpecification={"TotalTargetCapacity": count, "DefaultTargetCapacityType": "on-demand"},
        LaunchTemplateConfigs=[{"LaunchTemplateSpecification": template, "Overrides": overrides}],
    )
    ids = [one for item in answer["Instances"] for one in item["InstanceIds"]]
    described = ec2.describe_instances(InstanceIds=ids)  # type: ignore[attr-defined]
    addresses = [i["PrivateIpAddress"] for r in described["Reservations"] for i in r["Instances"]]
    nodes = f"aws-cpu-[000-{count - 1:03d}]"
    subprocess.run(["scontrol", "update", f"nodename={nodes}", f"nodeaddr={','.join(addresses)}"], check=True)
    return ids


if __name__ == "__main__":
    main()
