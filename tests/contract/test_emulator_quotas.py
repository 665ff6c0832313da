"""Quotas of the pretend account, in EC2's refusals and in Service Quotas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.contract.emulator import (
    Emulator,
    Ground,
    codes,
    fleet,
    ids_of,
    prepare,
    start,
)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run one emulator for the module."""
    running = start(tmp_path_factory.mktemp("emulator"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ec2(emulator: Emulator) -> Any:
    """Return a plain EC2 client."""
    return emulator.client()


@pytest.fixture(scope="module")
def ground(ec2: Any) -> Ground:
    """Return what fleets need."""
    return prepare(ec2)


@pytest.fixture
def knobs(emulator: Emulator) -> Iterator[Any]:
    """Return a way to turn knobs, which lifts every quota afterwards."""
    before = emulator.lab("GET", "knobs")
    yield lambda **values: emulator.lab("POST", "knobs", values)
    emulator.lab("POST", "knobs", before)


def test_each_class_of_families_has_a_quota_of_its_own(ec2: Any, ground: Ground, knobs: Any) -> None:
    """The HPC quota refuses hpc7a and nothing else; the Standard one refuses the others and not hpc7a."""
    knobs(vcpus_on_demand_hpc=192, vcpus_on_demand=4)
    answer = ec2.create_fleet(**fleet(ground, 6, "hpc7a.96xlarge b", "c7i.large a", "m7i.large a"))
    launched = {item["InstanceType"]: len(item["InstanceIds"]) for item in answer["Instances"]}
    assert launched["hpc7a.96xlarge"] == 1
    assert sum(count for kind, count in launched.items() if kind != "hpc7a.96xlarge") == 2
    assert set(codes(answer)) == {"VcpuLimitExceeded"}


def test_spot_counts_apart_from_on_demand(ec2: Any, ground: Ground, knobs: Any) -> None:
    """The Spot quota has its own code, and On-Demand instances do not use it up."""
    knobs(vcpus_spot=4, vcpus_on_demand_x=0)
    answer = ec2.create_fleet(**fleet(ground, 3, "c6i.large a", market="spot"))
    assert len(ids_of(answer)) == 2
    assert codes(answer) == ["MaxSpotInstanceCountExceeded"]
    assert len(ids_of(ec2.create_fleet(**fleet(ground, 3, "c6i.large a")))) == 3


@pytest.mark.parametrize(
    ("knob", "pool", "market", "code"),
    [
        ("vcpus_on_demand_g", "g5.xlarge a", "on-demand", "VcpuLimitExceeded"),
        ("vcpus_on_demand_g", "gr6.4xlarge a", "on-demand", "VcpuLimitExceeded"),
        ("vcpus_on_demand_inf", "inf2.xlarge a", "on-demand", "VcpuLimitExceeded"),
        ("vcpus_on_demand_x", "x2idn.16xlarge a", "on-demand", "VcpuLimitExceeded"),
        ("vcpus_on_demand_p", "p5.48xlarge c", "on-demand", "VcpuLimitExceeded"),
        ("vcpus_spot_p5", "p5.48xlarge c", "spot", "MaxSpotInstanceCountExceeded"),
        ("vcpus_spot_p", "p4d.24xlarge b", "spot", "MaxSpotInstanceCountExceeded"),
        ("vcpus_on_demand_trn", "trn1.2xlarge c", "on-demand", "VcpuLimitExceeded"),
    ],
)
def test_a_class_at_zero_refuses_its_types(
    ec2: Any, ground: Ground, knobs: Any, knob: str, pool: str, market: str, code: str
) -> None:
    """Zero, as new accounts have it."""
    knobs(**{knob: 0})
    answer = ec2.create_fleet(**fleet(ground, 1, pool, market=market))
    assert (answer["Instances"], codes(answer)) == ([], [code])


def test_service_quotas_tell_the_knobs_by_their_real_codes(emulator: Emulator, knobs: Any) -> None:
    """GetServiceQuota and ListServiceQuotas for ec2; a large number where there is no quota."""
    quotas = emulator.client("service-quotas")
    knobs(vcpus_on_demand=64, vcpus_spot_p=96)
    standard = quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")["Quota"]
    assert (standard["Value"], standard["QuotaName"]) == (
        64.0,
        "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
    )
    assert quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-7212CCBC")["Quota"]["Value"] == 96.0
    assert quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-417A185B")["Quota"]["Value"] >= 100_000
    pages = quotas.get_paginator("list_service_quotas").paginate(ServiceCode="ec2", PaginationConfig={"PageSize": 7})
    listed = {quota["QuotaCode"]: quota["Value"] for page in pages for quota in page["Quotas"]}
    assert {"L-1216C47A": 64.0, "L-7212CCBC": 96.0}.items() <= listed.items()
    assert {"L-F7808C92", "L-2C3B7624", "L-34B43A08", "L-C4BD4855"} <= set(listed)
    with pytest.raises(quotas.exceptions.NoSuchResourceException):
        quotas.get_service_quota(ServiceCode="ec2", QuotaCode="L-00000000")
    assert emulator.lab("GET", "calls")["GetServiceQuota"] >= 4
