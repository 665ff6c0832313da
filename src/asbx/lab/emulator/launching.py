"""Make instances out of a blueprint, once the market has granted them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from asbx.lab.emulator import catalogue
from asbx.lab.emulator.addresses import AddressPool
from asbx.lab.emulator.blueprint import Blueprint
from asbx.lab.emulator.disks import disks_of
from asbx.lab.emulator.instance_xml import constant_part
from asbx.lab.emulator.interfaces import EFA_ONLY, kind_of
from asbx.lab.emulator.machine import BY_BLOCK_END, Interface, Launch, Machine
from asbx.lab.emulator.resolve import Store, Subnet
from asbx.lab.emulator.world import World
from asbx.sim.market import Lifecycle, PoolKey, Share


@dataclass(frozen=True)
class Order:
    """What the call says of its instances beside the blueprint. tags: by resource type."""

    tags: Mapping[str, Mapping[str, str]]
    fleet_id: str = ""
    client_token: str = ""


def free_addresses(world: World, subnet: Subnet) -> int:
    """Return how many addresses a subnet has left."""
    return _pool(world, subnet).free


def _pool(world: World, subnet: Subnet) -> AddressPool:
    if subnet.subnet_id not in world.addresses:
        world.addresses[subnet.subnet_id] = AddressPool(subnet.cidr)
    return world.addresses[subnet.subnet_id]


def launch(
    world: World, store: Store, plan: Blueprint, order: Order, granted: tuple[Lifecycle, Share]
) -> list[Machine]:
    """Make the granted instances of one pool, in one EC2 reservation; granted: the market and its share."""
    market, share = granted
    common = _common(world, store, plan, order, market, share.price)
    places = [id_ for id_, reserved in share.reserved for _ in range(reserved)]
    places += [""] * (share.count - len(places))
    machines = [_machine(world, plan, common, order, index, place) for index, place in enumerate(places)]
    for seat, machine in enumerate(machines, world.take_seats(common, share.count)):
        machine.seat = seat
        world.add(machine)
        if market is Lifecycle.CAPACITY_BLOCK:
            ends = world.market.reservations[machine.capacity_reservation].ends
            world.end(machine, BY_BLOCK_END, at=ends - world.knobs.block_end_notice)
    return machines


def _common(world: World, store: Store, plan: Blueprint, order: Order, market: Lifecycle, price: Decimal) -> Launch:
    data, subnet = plan.data, plan.subnet
    groups = _security_groups(store, plan)
    return Launch(
        owner=store.owner,
        reservation_id=world.new_id("r"),
        fleet_id=order.fleet_id,
        pool=PoolKey(plan.instance_type, subnet.zone, market),
        subnet_id=subnet.subnet_id,
        vpc_id=subnet.vpc_id,
        price=price,
        image_id=data["ImageId"],
        architecture=catalogue.architecture(plan.instance_type),
        launched_at=world.now(),
        user_data=str(data.get("UserData") or ""),
        key_name=data.get("KeyName") or "",
        profile_arn=_profile(store, data.get("IamInstanceProfile") or {}),
        groups=groups,
        group_names=store.group_names(groups),
        placement_group=plan.group.name if plan.group else "",
        placement_group_id=plan.group.group_id if plan.group else "",
        client_token=order.client_token,
        ebs_optimized=bool(data.get("EbsOptimized")),
        metadata_options=dict(data.get("MetadataOptions") or {}),
        disks=disks_of(data),
        vcpus=catalogue.vcpus(plan.instance_type),
    )


def _security_groups(store: Store, plan: Blueprint) -> tuple[str, ...]:
    named = plan.interfaces[0].get("Groups") or plan.data.get("SecurityGroupIds")
    return tuple(named) if named else store.default_group(plan.subnet.vpc_id)


def _profile(store: Store, profile: Mapping[str, Any]) -> str:
    if profile.get("Name"):
        return f"arn:aws:iam::{store.owner.account}:instance-profile/{profile['Name']}"
    return str(profile.get("Arn") or "")


def _machine(world: World, plan: Blueprint, common: Launch, order: Order, index: int, place: str) -> Machine:
    started, knobs = common.launched_at, world.knobs
    volumes = tuple(world.new_id("vol") for _ in common.disks)
    machine = Machine(
        instance_id=world.new_id("i"),
        launch=common,
        index=index,
        interfaces=tuple(_interface(world, plan, nic, common.groups) for nic in plan.interfaces),
        volumes=volumes,
        tags=dict(order.tags.get("instance", {})),
        runs_at=started + knobs.pending,
        boot_at=started + knobs.boot,
        known_at=started + knobs.unknown,
        address_at=started + knobs.address,
        spot_request_id=world.new_id("sir", 8) if common.is_spot else "",
        capacity_reservation=place,
    )
    for volume in volumes:
        world.tags[volume] = dict(order.tags.get("volume", {}))
    for interface in machine.interfaces:
        world.tags[interface.interface_id] = dict(order.tags.get("network-interface", {}))
    machine.xml = constant_part(machine)
    return machine


def _interface(world: World, plan: Blueprint, nic: Mapping[str, Any], groups: tuple[str, ...]) -> Interface:
    kind = kind_of(nic)
    return Interface(
        interface_id=world.new_id("eni"),
        kind=kind,
        device_index=int(nic.get("DeviceIndex", 0)),
        card_index=int(nic.get("NetworkCardIndex") or 0),
        address="" if kind == EFA_ONLY else _pool(world, plan.subnet).take(),
        mac=world.new_mac(),
        groups=tuple(nic.get("Groups") or groups),
    )
