"""Put our actions in the place of moto's.

Moto finds an action by the method of the same name on EC2Response: a function assigned there replaces it or adds it.
The parameters are those moto parsed with EC2's service model; an answer that is a dict is serialised from the same
model.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.models.subnets import Subnet
from moto.ec2.responses import EC2Response

from asbx.lab.emulator import (
    disks,
    fleets,
    groups,
    health,
    images,
    instances,
    price_calls,
    reserving,
    run_instances,
    tagging,
    templates,
    topology,
    type_calls,
)
from asbx.lab.emulator.errors import Ec2Error, ThrottledError
from asbx.lab.emulator.instance_xml import error_document
from asbx.lab.emulator.machine import Owner
from asbx.lab.emulator.world import World

_XML = {"Content-Type": "text/xml;charset=UTF-8"}
Answer = dict[str, Any] | str | None
Action = Callable[[World, Owner, Mapping[str, Any]], Answer]

OWN: dict[str, Action] = {
    "run_instances": run_instances.run_instances,
    "create_fleet": fleets.create_fleet,
    "describe_fleets": fleets.describe_fleets,
    "describe_fleet_instances": fleets.describe_fleet_instances,
    "delete_fleets": fleets.delete_fleets,
    "describe_instances": instances.describe_instances,
    "describe_instance_status": health.describe_instance_status,
    "describe_volumes": disks.describe_volumes,
    "get_console_output": health.get_console_output,
    "terminate_instances": instances.terminate_instances,
    "create_tags": tagging.create_tags,
    "delete_tags": tagging.delete_tags,
    "describe_tags": tagging.describe_tags,
    "create_placement_group": groups.create_placement_group,
    "describe_placement_groups": groups.describe_placement_groups,
    "delete_placement_group": groups.delete_placement_group,
    "create_capacity_reservation": reserving.create_capacity_reservation,
    "describe_capacity_reservations": reserving.describe_capacity_reservations,
    "cancel_capacity_reservation": reserving.cancel_capacity_reservation,
    "describe_instance_topology": topology.describe_instance_topology,
    "register_image": images.register_image,
    "create_launch_template": templates.create_launch_template,
    "create_launch_template_version": templates.create_launch_template_version,
    "delete_launch_template": templates.delete_launch_template,
    "delete_launch_template_versions": templates.delete_launch_template_versions,
    "describe_launch_templates": templates.describe_launch_templates,
    "describe_launch_template_versions": templates.describe_launch_template_versions,
    "describe_instance_types": type_calls.describe_instance_types,
    "describe_instance_type_offerings": type_calls.describe_instance_type_offerings,
    "describe_spot_price_history": price_calls.describe_spot_price_history,
    "get_spot_placement_scores": price_calls.get_spot_placement_scores,
}
# Moto has these, but they work on instances or fleets of its own, which nothing else here would show.
REFUSED = (
    "start_instances",
    "stop_instances",
    "reboot_instances",
    "request_spot_instances",
    "request_spot_fleet",
    "modify_instance_attribute",
    "describe_instance_attribute",
)


def install(world: World) -> None:
    """Make moto's EC2 serve this world. One world a process: the class is moto's, and shared."""
    for name, action in OWN.items():
        setattr(EC2Response, name, _method(world, action))
    for name in REFUSED:
        setattr(EC2Response, name, _refusal(name))
    _repair_moto(world)


def _method(world: World, action: Action) -> Callable[[Any], Any]:
    def method(response: Any) -> Any:
        owner = Owner(response.current_account, response.region)
        try:
            with world.lock:
                world.settle()
                answer = action(world, owner, response.params)
        except (
            ThrottledError
        ) as error:  # moto answers every error with 400, and reads the status of ours in the headers
            return 503, {**_XML, "status": "503"}, error_document(error.code, error.message, str(uuid.uuid4()))
        if isinstance(answer, str):
            return 200, _XML, answer
        return EmptyResult() if answer is None else ActionResult(answer)

    return method


def _refusal(name: str) -> Callable[[Any], Any]:
    def method(_response: Any) -> Any:
        words = "".join(part.title() for part in name.split("_"))
        raise Ec2Error("UnsupportedOperation", f"This pretend EC2 does not do {words}.")

    return method


def _repair_moto(world: World) -> None:
    """Replace two parts of moto: tags found without scanning all tags, free addresses counted with ours."""
    stock = Subnet.available_ip_address_count.fget

    def get_tags(resource: Any) -> list[dict[str, str]]:
        tags = resource.ec2_backend.tags.get(getattr(resource, "id", None)) or {}
        return [{"resource_id": resource.id, "key": k, "value": v, "resource_type": ""} for k, v in tags.items()]

    def free_addresses(subnet: Any) -> int:
        with world.lock:
            world.settle()
            pool = world.addresses.get(subnet.id)
        return int(stock(subnet)) - (pool.taken if pool else 0)

    TaggedEC2Resource.get_tags = get_tags
    Subnet.available_ip_address_count = property(free_addresses)
