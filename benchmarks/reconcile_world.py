"""A cluster as large as asked, as the sweep's real doors see it: a ledger in SQLite, scontrol's text, EC2's XML.

scontrol and squeue are shell scripts that print recorded text (`cat` is their cost); EC2 is a process of its own that
serves DescribeInstances in pages of 1,000. So all that is measured in the sweep's process is the sweep's.
"""

from __future__ import annotations

import json
import sys
import urllib.parse
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from asbx.config.load import load_config
from asbx.ledger.store import open_ledger
from asbx.model.hostlist import fold
from asbx.model.job import Request, RequestKind
from asbx.model.market import FleetAnswer, FleetOrder, Instance, InstanceState, Launched, Market, Pool, Template
from asbx.model.names import GroupName
from asbx.model.record import Attempt, InstanceRow, Intent

GANG = 8
PAGE = 1000
# Of a hundred bound nodes one is off with its instance alive, and of a hundred others one has an address left.
ODD = 100
_LAUNCHED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

_SCRIPT = """#!/bin/sh
case "$1$2" in
--version) echo "slurm {version}" ;;
shownode) cat {folder}/nodes.{shape} ;;
*) exit 0 ;;
esac
"""


def node_names(count: int) -> list[str]:
    """Return the nodes of the one group."""
    return [f"aws-cpu-{number:05d}" for number in range(count)]


def build(folder: Path, nodes: int, instances: int, *, json_shape: bool, endpoint: str) -> None:
    """Write configuration, ledger, scontrol's output and EC2's pages."""
    folder.mkdir(parents=True)
    (folder / "slurm.conf").touch()
    (folder / "aws-burst.yaml").write_text(yaml.safe_dump(_config(folder, nodes, endpoint)))
    version = "26.05.3" if json_shape else "22.05.8"
    shape = "json" if json_shape else "txt"
    for name in ("scontrol", "squeue"):
        (folder / name).write_text(_SCRIPT.format(version=version, folder=folder, shape=shape))
        (folder / name).chmod(0o755)
    names = node_names(nodes)
    machines = [_machine(number) for number in range(instances)]
    rows = list(zip(names, machines, strict=False))
    _fill_ledger(folder, rows)
    table = [_Node(name, dict(rows).get(name), number) for number, name in enumerate(names)]
    text = _json(table) if json_shape else "".join(node.line() for node in table)
    (folder / f"nodes.{shape}").write_text(text)
    for page, start in enumerate(range(0, max(instances, 1), PAGE)):
        more = f"<nextToken>{page + 1}</nextToken>" if start + PAGE < instances else ""
        (folder / f"page-{page}.xml").write_text(_page(rows[start : start + PAGE], more))


def _config(folder: Path, nodes: int, endpoint: str) -> dict[str, object]:
    group = {
        "node_group_name": "cpu",
        "max_nodes": nodes,
        "number_width": 5,
        "region": "us-east-2",
        "launch_template_specification": {"launch_template_id": "lt-1"},
        "launch_template_overrides": [{"instance_type": "c7i.large"}],
        "subnet_ids": ["subnet-a"],
    }
    keys = {"access_key_id": "bench", "secret_access_key": "bench"}
    return {
        "aws": {
            "region": "us-east-2",
            "endpoint_url": endpoint,
            "authentication_method": "access_keys",
            "access_keys": keys,
        },
        "cluster": {"name": "bench"},
        "paths": {name: str(folder / name) for name in ("spool", "state", "runtime")},
        "logging": {"file": str(folder / "log")},
        "slurm": {
            "bin_path": str(folder),
            "config_path": str(folder / "slurm.conf"),
            "partitions": [{"partition_name": "aws", "node_groups": [group]}],
        },
    }


def _machine(number: int) -> Instance:
    address = f"10.{number // 60000}.{number // 250 % 240}.{number % 250 + 1}"
    return Instance(
        f"i-{number:017x}",
        "c7i.large",
        "us-east-2a",
        "subnet-a",
        InstanceState.RUNNING,
        Market.ON_DEMAND,
        address,
        f"ip-{address.replace('.', '-')}.us-east-2.compute.internal",
        f"r-{number // GANG:017x}",
        number % GANG,
        _LAUNCHED,
    )


def _fill_ledger(folder: Path, rows: list[tuple[str, Instance]]) -> None:
    config = load_config(folder / "aws-burst.yaml", {}).config
    for path in (config.paths.requests, config.paths.state, config.paths.runtime):
        path.mkdir(parents=True)
    ledger = open_ledger(config.ledger_url)
    template = Template("lt-1", "", "1")
    for start in range(0, len(rows), GANG):
        number, gang = start // GANG, rows[start : start + GANG]
        request = Request(f"r-{number}", RequestKind.RESUME, tuple(node for node, _ in gang), _LAUNCHED)
        ledger.add_request(request)
        ledger.finish_request(request.request_id, failed=False, note="", at=_LAUNCHED)
        name = GroupName("aws", "cpu")
        ids = (f"intent-{number}", request.request_id, f"job-{number}", (number,))
        intent = Intent(*ids, name, request.nodes, "ada", "physics", _LAUNCHED)
        pools = (Pool("c7i.large", "subnet-a", "us-east-2a"),)
        order = FleetOrder(f"token-{number}", Market.ON_DEMAND, len(gang), len(gang), pools, template, ())
        attempt = Attempt(intent.intent_id, 1, order, _LAUNCHED)
        ledger.add_attempt(attempt, intent)
        launched = tuple(Launched(i.instance_id, i.instance_type, i.zone, i.subnet_id, i.market) for _, i in gang)
        answer = replace(attempt, answered_at=_LAUNCHED, answer=FleetAnswer("fleet", launched))
        ledger.answer_attempt(answer, [_row(intent, i) for _, i in gang])
        ledger.bind(gang, _LAUNCHED)
        ledger.register([node for node, _ in gang], _LAUNCHED + timedelta(minutes=1))


def _row(intent: Intent, instance: Instance) -> InstanceRow:
    where = (instance.instance_type, instance.zone, instance.subnet_id, instance.market, instance.launched_at)
    whose = (intent.gang_id, intent.jobs, intent.group, intent.user, intent.account)
    return InstanceRow(instance.instance_id, intent.intent_id, *whose, *where, Decimal("0.1"))


class _Node:
    """A node as scontrol prints it."""

    def __init__(self, name: str, instance: Instance | None, number: int) -> None:
        is_odd = number % ODD == 0
        is_on = instance is not None and not is_odd
        self.name = name
        self.state = "ALLOCATED+CLOUD" if is_on else "IDLE+CLOUD+POWERED_DOWN"
        left = instance is None and is_odd
        self.address = instance.private_ip if instance is not None and is_on else "10.9.9.9" if left else name
        self.hostname = instance.private_dns.split(".")[0] if instance is not None and is_on else name

    def line(self) -> str:
        """Return it as 22.05 does with --oneliner; the fields between are of real length."""
        words = "efa-preferred,no-efa,pg-cluster,pg-partition,pg-spread,pg-none,gang,greedy,best-effort"
        return (
            f"NodeName={self.name} Arch=x86_64 CoresPerSocket=1  CPUAlloc=2 CPUEfctv=2 CPUTot=2 CPULoad=1.97 "
            f"AvailableFeatures={words} ActiveFeatures={words} Gres=(null) NodeAddr={self.address} "
            f"NodeHostName={self.hostname} Port=6818 Version=22.05.8 OS=Linux 6.1.0-18-cloud-amd64 #1 SMP "
            f"PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)  RealMemory=3800 AllocMem=0 FreeMem=3121 Sockets=2 "
            f"Boards=1 State={self.state} ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A Partitions=aws "
            f" BootTime=2026-03-01T12:00:40 SlurmdStartTime=2026-03-01T12:00:55 LastBusyTime=2026-03-01T12:01:02 "
            f"CfgTRES=cpu=2,mem=3800M,billing=2 AllocTRES=cpu=2 CapWatts=n/a CurrentWatts=0 AveWatts=0 "
            f"ExtSensorsJoules=n/s ExtSensorsWatts=0 ExtSensorsTemp=n/s\n"
        )


def _json(table: list[_Node]) -> str:
    """Return it as 26.05 does: a recorded node with other names."""
    recorded = Path(__file__).parents[1] / "tests" / "recorded" / "show-node-3-running.json"
    whole = json.loads(recorded.read_text())
    like = next(node for node in whole["nodes"] if "MIXED" in node["state"])
    whole["nodes"] = [
        like | {"name": n.name, "address": n.address, "hostname": n.hostname, "state": n.state.split("+"), "reason": ""}
        for n in table
    ]
    return json.dumps(whole, indent=1)  # Slurm writes it indented, too


def _page(rows: list[tuple[str, Instance]], more: str) -> str:
    items = []
    for start in range(0, len(rows), GANG):
        gang = rows[start : start + GANG]
        nodes = fold(node for node, _ in gang)
        inside = "".join(_instance(node, instance, nodes) for node, instance in gang)
        items.append(
            f"<item><reservationId>{gang[0][1].reservation_id}</reservationId><ownerId>123456789012</ownerId>"
            f"<groupSet/><instancesSet>{inside}</instancesSet></item>"
        )
    space = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<DescribeInstancesResponse {space}><requestId>x</requestId>'
        f"<reservationSet>{''.join(items)}</reservationSet>{more}</DescribeInstancesResponse>"
    )


def _instance(node: str, one: Instance, nodes: str) -> str:
    """Return an instance as EC2 describes it (EC2 API reference, DescribeInstances, example response)."""
    number = int(one.instance_id.removeprefix("i-"), base=16)
    tags = {
        "Name": node,
        "asbx:node": node,
        "asbx:nodes": f"{one.reservation_id}={nodes}",
        "asbx:cluster": "bench",
        "asbx:partition": "aws",
        "asbx:nodegroup": "cpu",
        "asbx:intent": f"intent-{number // GANG}",
        "asbx:gang": f"job-{number // GANG}",
        "asbx:job": str(number // GANG),
        "asbx:user": "ada",
        "asbx:account": "physics",
        "ManagedBy": "aws-slurm-burst",
        "aws:ec2launchtemplate:id": "lt-1",
        "aws:ec2launchtemplate:version": "1",
        "aws:ec2:fleet-id": "fleet-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    }
    tag_set = "".join(f"<item><key>{key}</key><value>{value}</value></item>" for key, value in tags.items())
    volume = (
        "<item><deviceName>/dev/xvda</deviceName><ebs><volumeId>vol-1234567890abcdef0</volumeId><status>attached</status>"
        "<attachTime>2026-03-01T12:00:05.000Z</attachTime><deleteOnTermination>true</deleteOnTermination></ebs></item>"
    )
    group = "<item><groupId>sg-1234567890abcdef0</groupId><groupName>nodes</groupName></item>"
    card = (
        "<item><networkInterfaceId>eni-1234567890abcdef0</networkInterfaceId><subnetId>subnet-a</subnetId>"
        "<vpcId>vpc-1234567890abcdef0</vpcId><description/><ownerId>123456789012</ownerId><status>in-use</status>"
        f"<macAddress>02:dd:2c:5e:01:69</macAddress><privateIpAddress>{one.private_ip}</privateIpAddress>"
        f"<privateDnsName>{one.private_dns}</privateDnsName><sourceDestCheck>true</sourceDestCheck>"
        f"<groupSet>{group}</groupSet><attachment><attachmentId>eni-attach-1</attachmentId><deviceIndex>0</deviceIndex>"
        "<networkCardIndex>0</networkCardIndex><status>attached</status><attachTime>2026-03-01T12:00:05.000Z</attachTime>"
        "<deleteOnTermination>true</deleteOnTermination></attachment><privateIpAddressesSet><item><privateIpAddress>"
        f"{one.private_ip}</privateIpAddress><primary>true</primary></item></privateIpAddressesSet><ipv6AddressesSet/>"
        "<interfaceType>interface</interfaceType></item>"
    )
    return (
        f"<item><instanceId>{one.instance_id}</instanceId><imageId>ami-1234567890abcdef0</imageId>"
        "<instanceState><code>16</code><name>running</name></instanceState>"
        f"<privateDnsName>{one.private_dns}</privateDnsName><dnsName/><reason/><keyName>site</keyName>"
        f"<amiLaunchIndex>{one.launch_index}</amiLaunchIndex><productCodes/><instanceType>{one.instance_type}</instanceType>"
        "<launchTime>2026-03-01T12:00:00.000Z</launchTime><placement><availabilityZone>us-east-2a</availabilityZone>"
        "<groupName/><tenancy>default</tenancy></placement><monitoring><state>disabled</state></monitoring>"
        f"<subnetId>subnet-a</subnetId><vpcId>vpc-1234567890abcdef0</vpcId><privateIpAddress>{one.private_ip}"
        f"</privateIpAddress><sourceDestCheck>true</sourceDestCheck><groupSet>{group}</groupSet><architecture>x86_64"
        "</architecture><rootDeviceType>ebs</rootDeviceType><rootDeviceName>/dev/xvda</rootDeviceName>"
        f"<blockDeviceMapping>{volume}</blockDeviceMapping><virtualizationType>hvm</virtualizationType><clientToken>"
        f"fleet-aaaaaaaa-0</clientToken><tagSet>{tag_set}</tagSet><hypervisor>xen</hypervisor><networkInterfaceSet>{card}"
        "</networkInterfaceSet><iamInstanceProfile><arn>arn:aws:iam::123456789012:instance-profile/node</arn><id>AIPA</id>"
        "</iamInstanceProfile><ebsOptimized>true</ebsOptimized><cpuOptions><coreCount>1</coreCount><threadsPerCore>2"
        "</threadsPerCore></cpuOptions><metadataOptions><state>applied</state><httpTokens>required</httpTokens>"
        "<httpPutResponseHopLimit>2</httpPutResponseHopLimit><httpEndpoint>enabled</httpEndpoint>"
        "<instanceMetadataTags>enabled</instanceMetadataTags></metadataOptions></item>"
    )


class _Ec2(BaseHTTPRequestHandler):
    """Answers what the sweep asks; everything else is not permitted."""

    protocol_version = "HTTP/1.1"
    folder: Path

    def do_POST(self) -> None:
        """Serve a page, or end what is to be ended."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = urllib.parse.parse_qs(body)
        action = asked.get("Action", ["other services"])[0]
        if action == "DescribeInstances":
            page = asked.get("NextToken", ["0"])[0]
            self._answer(200, (self.folder / f"page-{page}.xml").read_bytes())
        elif action == "TerminateInstances":
            ids = [values[0] for key, values in asked.items() if key.startswith("InstanceId.")]
            items = "".join(f"<item><instanceId>{one}</instanceId></item>" for one in ids)
            head = '<TerminateInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
            self._answer(200, f"{head}<instancesSet>{items}</instancesSet></TerminateInstancesResponse>".encode())
        else:
            error = f"<Error><Code>UnauthorizedOperation</Code><Message>{action}</Message></Error>"
            self._answer(403, f"<Response><Errors>{error}</Errors><RequestID>x</RequestID></Response>".encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/xml;charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(folder: Path) -> None:
    """Serve the pages of a folder until ended; print the address."""
    _Ec2.folder = folder
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Ec2)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
