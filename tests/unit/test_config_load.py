"""Reading a configuration: what is accepted, what is refused, and whether the message helps."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from asbx.config.environment import apply_environment
from asbx.config.load import LoadedConfig, find_config, load_config
from asbx.errors import ConfigError, ExitCode
from asbx.model.names import GroupName

SMALL = """\
aws:
  region: us-east-2
slurm:
  partitions:
    - partition_name: aws
      node_groups:
        - node_group_name: cpu
          max_nodes: 20
          region: us-east-2
          purchasing_option: spot
          launch_template_specification: {launch_template_name: slurm-cpu}
          launch_template_overrides:
            - instance_type: c5.large
          subnet_ids: [subnet-1]
"""
GROUP = "slurm.partitions[0].node_groups[0]"
REPOSITORY = Path(__file__).parents[2]


def load(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> LoadedConfig:
    """Load a text as if it were the file c.yaml."""
    path = folder / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_config(path, environ or {})


def refusal(folder: Path, text: str | bytes, environ: Mapping[str, str] | None = None) -> str:
    """Return what the refusal of a text says, without the folder's name."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, environ)
    assert caught.value.exit_code is ExitCode.CONFIG
    assert caught.value.hint
    return f"{caught.value.what}\n{caught.value.why}".replace(f"{folder}/", "")


def test_a_small_file_is_enough(tmp_path: Path) -> None:
    """A file with only what is required loads, and everything else has its default."""
    loaded = load(tmp_path, SMALL)
    group = loaded.config.group(GroupName("aws", "cpu"))
    assert group is not None
    assert group.max_nodes == 20
    assert group.launch_template_specification.version == "$Default"
    assert loaded.config.slurm.resume_rate == 0
    assert loaded.warnings == ()
    assert loaded.path == tmp_path / "c.yaml"


@pytest.mark.parametrize("name", ["config.yaml", "examples/config.yaml"])
def test_shipped_examples_load_without_a_warning(name: str) -> None:
    """What we ship as an example is an example of how it should be."""
    loaded = load_config(REPOSITORY / name, {})
    assert loaded.warnings == ()
    nodes = {str(group.node_group_name): group.max_nodes for _, group in loaded.config.groups()}
    assert nodes["cpu"] >= 16
    assert nodes["hpc"] >= 17


def test_every_value_knows_where_it_comes_from(tmp_path: Path) -> None:
    """Origins name file and line, the environment variable, or the default."""
    origins = load(tmp_path, SMALL, {"ASBX__AWS__PROFILE": "burst"}).origins
    assert origins["aws.region"] == f"{tmp_path}/c.yaml:2"
    assert origins["aws.profile"] == "environment ASBX__AWS__PROFILE"
    assert origins["slurm.partitions[0].node_groups[0].max_nodes"] == f"{tmp_path}/c.yaml:8"
    assert origins["logging.level"] == "default"


def test_values_mean_what_is_written(tmp_path: Path) -> None:
    """YAML's own guesses do not change values: times, NO, leading zeros and decimals stay as written."""
    options = "\n      partition_options: {MaxTime: 24:00:00, Default: NO, AllowAccounts: 0012, Weight: 1.10}"
    partition = load(tmp_path, SMALL.replace("name: aws\n", f"name: aws{options}\n")).config.slurm.partitions[0]
    assert partition.partition_options == {
        "MaxTime": "24:00:00",
        "Default": "NO",
        "AllowAccounts": "0012",
        "Weight": "1.10",
    }


def test_a_key_without_value_counts_as_not_stated(tmp_path: Path) -> None:
    """`logging:` with nothing below it is no error and changes nothing."""
    assert load(tmp_path, SMALL + "logging:\nmpi: ~\n").config.logging.level == "info"


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    """A group can be written as another one with differences."""
    text = SMALL.replace("- node_group_name: cpu", "- &cpu\n          node_group_name: cpu") + (
        "        - <<: *cpu\n          node_group_name: gpu\n          max_nodes: 3\n"
    )
    loaded = load(tmp_path, text)
    groups = loaded.config.slurm.partitions[0].node_groups
    assert [(group.node_group_name, group.max_nodes) for group in groups] == [("cpu", 20), ("gpu", 3)]
    assert groups[1].subnet_ids == ("subnet-1",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("region: us-east-2\nslurm", "regin: us-east-2\nslurm"),
            "c.yaml:2: aws.regin is not a known key; did you mean region?",
        ),
        (("region: us-east-2\nslurm", "regin: us-east-2\nslurm"), "c.yaml:1: aws.region is required"),
        (("max_nodes: 20", "max_nodes: many"), f"c.yaml:8: {GROUP}.max_nodes must be a whole number, not 'many'"),
        (("max_nodes: 20", "max_nodes: 0"), "must be greater than 0, not '0'"),
        (("max_nodes: 20", "max_nodes: [20]"), "max_nodes must be a whole number, not a list"),
        (
            ("max_nodes: 20", "max_nodes: 20\n          max_nodes: 3"),
            f"c.yaml:9: {GROUP}.max_nodes is stated twice, first in line 8",
        ),
        (
            ("purchasing_option: spot", "purchasing_option: cheap"),
            "must be 'spot', 'on-demand' or 'mixed', not 'cheap'",
        ),
        (("group_name: cpu", "group_name: c-pu"), "must be letters and digits only, not 'c-pu'"),
        (("region: us-east-2\nslurm", "region: Ohio\nslurm"), "must be an AWS region such as us-east-2, not 'Ohio'"),
        (("[subnet-1]", "subnet-1"), f"c.yaml:14: {GROUP}.subnet_ids must be a list (`- item` lines), not 'subnet-1'"),
        (("[subnet-1]", "[]"), "subnet_ids must have at least 1 item"),
        (("[subnet-1]", "[subnet-1, ~]"), "subnet_ids[1] is empty"),
        (("aws:\n  region: us-east-2\n", "aws: us-east-2\n"), "c.yaml:1: aws must be a section of `key: value` lines"),
        (("aws:\n", "x: &x 1\n? [a]\n: b\naws:\n"), "has a key that is not a plain word"),
    ],
)
def test_a_problem_is_named_with_place_key_and_expectation(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    """A refusal names file, line, key, what was expected and what was found, and the nearest known key."""
    assert change[0] in SMALL
    assert said in refusal(tmp_path, SMALL.replace(*change, 1))


def test_all_problems_are_told_at_once_in_the_files_order(tmp_path: Path) -> None:
    """Nobody repairs a file one message at a time."""
    text = SMALL.replace("max_nodes: 20", "max_nodes: x").replace("spot\n", "cheap\n") + "asba: {enabled: maybe}\n"
    said = refusal(tmp_path, text)
    assert "3 problems" in said
    places = [int(line.split(":")[1]) for line in said.splitlines()[1:]]
    assert places == sorted(places)
    assert "asba.enabled must be 'auto-detect', 'true' or 'false' or must be true or false, not 'maybe'" in said


def test_many_problems_are_counted_not_all_shown(tmp_path: Path) -> None:
    """A file that is wrong everywhere does not fill the screen."""
    said = refusal(tmp_path, SMALL + "".join(f"x{number}: 1\n" for number in range(200)))
    assert "200 problems" in said
    assert "and 175 more" in said


def test_secrets_are_not_repeated(tmp_path: Path) -> None:
    """A wrong secret is named, never shown."""
    text = SMALL.replace(
        "region: us-east-2\nslurm",
        "region: us-east-2\n  access_keys: {access_key_id: a, secret_access_key: [hunter2]}\nslurm",
    )
    said = refusal(tmp_path, text)
    assert "aws.access_keys.secret_access_key must be text" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"# only a comment\n", "the file is empty"),
        (b"hello", "c.yaml:1: a configuration has sections"),
        (b"- a\n- b\n", "this is a list"),
        (b"aws: {region: x\n", "c.yaml:2: this is not YAML"),
        (b"aws:\n\tregion: x\n", "never with tabs"),
        (b"a: 1\n---\nb: 2\n", "c.yaml:2: a second document begins here"),
        (b"a: \x01\n", "this is not YAML"),
        (b"a: b\0c\n", "line 1 holds a NUL byte"),
        (b"a: 1\nb: \xff\xfe\n", "line 2 is not UTF-8 text"),
        (b"aws: !!python/object/apply:os.system [ls]\n", "has no meaning in a configuration"),
        (b"aws: &a {b: *a}\n", "*a names nothing"),
        (b"aws: *b\n", "*b names nothing"),
        (b"[" * 100_000, "nested deeper"),
        (b"- " * 100_000, "nested deeper"),
        (b"a: " * 30 + b"1", "this is not YAML"),
        (b"x" * (4 * 1024 * 1024 + 1), "larger than 4 MiB"),
    ],
)
def test_unusable_files_are_refused_in_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    """Whatever is in the file, the answer is one clear message with exit status 3."""
    assert said in refusal(tmp_path, content)


def test_aliases_cannot_blow_up(tmp_path: Path) -> None:
    """Nine levels of nine aliases each are refused within a moment."""
    names = "abcdefghi"
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{n}: &{n} [{','.join([f'*{before}'] * 9)}]" for before, n in pairwise(names)]
    started = time.perf_counter()
    assert "aliases unfold to more than" in refusal(tmp_path, "\n".join(lines))
    assert time.perf_counter() - started < 5


def test_merges_cannot_blow_up(tmp_path: Path) -> None:
    """The same through merge keys."""
    lines = ["a: &a {x: 1}"]
    lines += [f"k{n}: &k{n} {{<<: [{','.join([f'*k{n - 1}' if n else '*a'] * 50)}]}}" for n in range(8)]
    assert "aliases unfold to more than" in refusal(tmp_path, "\n".join(lines))


def test_missing_folders_and_pipes_are_told_apart(tmp_path: Path) -> None:
    """A path that is no readable file is refused at once, even a pipe nobody writes to."""
    os.mkfifo(tmp_path / "pipe")
    for name, said in [("nope", "there is no file"), (".", "it is a folder"), ("pipe", "not a regular file")]:
        with pytest.raises(ConfigError) as caught:
            load_config(tmp_path / name, {})
        assert said in f"{caught.value.what} {caught.value.why}"


def test_environment_replaces_keys(tmp_path: Path) -> None:
    """Variables reach sections, list items by number, free maps and whole lists."""
    config = load(
        tmp_path,
        SMALL.replace("purchasing_option", "slurm_specifications: {CPUs: 4}\n          purchasing_option"),
        {
            "ASBX__CLUSTER__NAME": "lab",
            "ASBX__SLURM__PARTITIONS__0__NODE_GROUPS__0__MAX_NODES": "5",
            "ASBX__SLURM__PARTITIONS__0__NODE_GROUPS__0__SLURM_SPECIFICATIONS__CPUS": "8",
            "ASBX__SLURM__PARTITIONS__0__NODE_GROUPS__0__SUBNET_IDS": "[subnet-7, subnet-8]",
            "ASBX__SLURM__PARTITIONS__0__NODE_GROUPS__0__LAUNCH_TEMPLATE_OVERRIDES__1__INSTANCE_TYPE": "c6i.large",
            "ASBX_CONFIG": "ignored here",
        },
    ).config
    group = config.slurm.partitions[0].node_groups[0]
    assert config.cluster.name == "lab"
    assert group.max_nodes == 5
    assert group.slurm_specifications == {"CPUs": "8"}
    assert group.subnet_ids == ("subnet-7", "subnet-8")
    assert [override.instance_type for override in group.launch_template_overrides] == ["c5.large", "c6i.large"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "ASBX__AWS__REGOIN",
            "x",
            "environment ASBX__AWS__REGOIN: aws.regoin is not a known key; did you mean region?",
        ),
        ("ASBX__AWS__RETRY_MAX_ATTEMPTS", "x", "_ATTEMPTS: aws.retry_max_attempts must be a whole number"),
        ("ASBX__SLURM__PARTITIONS__7__X", "x", "slurm.partitions has 1 items: 7 is not one of them"),
        ("ASBX__SLURM__PARTITIONS__FIRST__X", "x", "'FIRST' is not the number of an item"),
        ("ASBX__AWS__REGION__X", "x", "aws.region has a plain value"),
        ("ASBX__AWS____X", "x", "has an empty part"),
        ("ASBX__AWS", "[", "cannot be read"),
    ],
)
def test_odd_variables_are_named(tmp_path: Path, name: str, value: str, said: str) -> None:
    """A variable that cannot be applied is an error that names it, never silence."""
    assert said in refusal(tmp_path, SMALL, {name: value})


def test_other_variables_are_left_alone() -> None:
    """Only ASBX__ variables are read."""
    data: dict[str, object] = {}
    assert apply_environment(data, {"PATH": "x", "ASBX_SPOOL": "y"}) == ({}, ())
    assert data == {}


def test_the_search_takes_the_first_that_is_named(tmp_path: Path) -> None:
    """An explicit path wins over the variable; the answer says how the file was found."""
    environ = {"ASBX_CONFIG": "/e.yaml"}
    assert find_config(tmp_path / "x", environ).path == tmp_path / "x"
    found = find_config(None, environ, tmp_path)
    assert (found.path, found.how) == (Path("/e.yaml"), "named by $ASBX_CONFIG")


@pytest.fixture
def no_system_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pretend that the machine has no configuration of its own."""
    monkeypatch.setattr("asbx.config.load.SYSTEM_PATH", tmp_path / "etc" / "aws-burst.yaml")


@pytest.mark.usefixtures("no_system_file")
def test_the_working_directory_counts_for_people_only(tmp_path: Path) -> None:
    """./config.yaml is used when a command passes its folder, never by Slurm's programs."""
    (tmp_path / "config.yaml").write_text(SMALL)
    (tmp_path / "config.yaml").chmod(0o644)
    assert find_config(None, {}, tmp_path).path == tmp_path / "config.yaml"
    with pytest.raises(ConfigError) as caught:
        find_config(None, {})
    assert caught.value.code == "config-missing"


@pytest.mark.usefixtures("no_system_file")
def test_a_file_others_can_write_is_not_picked_up(tmp_path: Path) -> None:
    """What a stranger can change is used only when it is named."""
    local = tmp_path / "config.yaml"
    local.write_text(SMALL)
    local.chmod(0o666)
    with pytest.raises(ConfigError) as caught:
        find_config(None, {}, tmp_path)
    assert "can be written by others" in caught.value.why
    assert find_config(local, {}, tmp_path).path == local
