"""The tables, as the newest migration leaves them (a test compares the two).

Names of columns are those of the values in model/record.py and model/job.py.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text

from asbx.ledger.columns import Facts, Moment, Money, Names, Numbers, Packed

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

requests = Table(
    "requests",
    metadata,
    Column("request_id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("nodes", Names, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("jobs", Text, nullable=False),
    Column("notes", Names, nullable=False),
    Column("plan_text", Text),
    Column("by_hand", Boolean, nullable=False),
    Column("status", String, nullable=False, index=True),
    Column("note", Text, nullable=False),
    Column("finished_at", Moment),
)

intents = Table(
    "intents",
    metadata,
    Column("intent_id", String, primary_key=True),
    Column("request_id", String, nullable=False, index=True),
    Column("gang_id", String, nullable=False),
    Column("jobs", Numbers, nullable=False),
    Column("partition", String, nullable=False),
    Column("node_group", String, nullable=False),
    Column("nodes", Names, nullable=False),
    Column("user", String, nullable=False),
    Column("account", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("considered", Names, nullable=False, server_default="[]"),
)

# No attempt and no instance without the intent it came from: kept by the database itself.
attempts = Table(
    "attempts",
    metadata,
    Column("intent_id", String, ForeignKey(intents.c.intent_id), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("order", Text, nullable=False),
    Column("asked_at", Moment, nullable=False),
    Column("answered_at", Moment),
    Column("answer", Text),
    Column("error", String, nullable=False),
    Column("rung", String, nullable=False, server_default=""),
    Column("leg", Integer, nullable=False, server_default="0"),
)

instances = Table(
    "instances",
    metadata,
    Column("instance_id", String, primary_key=True),
    Column("intent_id", String, ForeignKey(intents.c.intent_id), nullable=False, index=True),
    Column("gang_id", String, nullable=False),
    Column("jobs", Numbers, nullable=False),
    Column("partition", String, nullable=False),
    Column("node_group", String, nullable=False),
    Column("user", String, nullable=False),
    Column("account", String, nullable=False),
    Column("instance_type", String, nullable=False),
    Column("zone", String, nullable=False),
    Column("subnet_id", String, nullable=False),
    Column("market", String, nullable=False),
    Column("launched_at", Moment, nullable=False),
    Column("price", Money),
    Column("private_ip", String, nullable=False),
    Column("reservation_id", String, nullable=False),
    Column("launch_index", Integer, nullable=False),
    Column("node", String, nullable=False),
    Column("bound_at", Moment),
    Column("ended_at", Moment, index=True),
    Column("end_reason", Text, nullable=False),
)

# An instance EC2 shows under our tags may be bound before its launch was recorded, so no foreign key here.
bindings = Table(
    "bindings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("node", String, nullable=False, index=True),
    Column("instance_id", String, nullable=False, index=True),
    Column("bound_at", Moment, nullable=False),
    Column("released_at", Moment),
    Column("registered_at", Moment),
)
_live = bindings.c.released_at.is_(None)
Index("one_live_binding_per_node", bindings.c.node, unique=True, sqlite_where=_live, postgresql_where=_live)
Index(
    "one_live_binding_per_instance",
    bindings.c.instance_id,
    unique=True,
    sqlite_where=_live,
    postgresql_where=_live,
)

# What is remembered between requests: pools that refused, things made in EC2, jobs whose launches failed.
shortages = Table(
    "shortages",
    metadata,
    Column("key", String, primary_key=True),
    Column("code", String, nullable=False),
    Column("least", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("since", Moment, nullable=False),
    Column("closed_until", Moment, nullable=False),
    Column("probe_until", Moment),
    Column("probe_by", String, nullable=False),
)

resources = Table(
    "resources",
    metadata,
    Column("kind", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("gang_id", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("used_at", Moment, nullable=False),
    Column("removed_at", Moment, index=True),
)

setbacks = Table(
    "setbacks",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("count", Integer, nullable=False),
    Column("code", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("next_at", Moment),
)

# Spot instances that EC2 took back, and since when jobs wait for spot before on-demand is allowed.
interruptions = Table(
    "interruptions",
    metadata,
    Column("instance_id", String, primary_key=True),
    Column("instance_type", String, nullable=False),
    Column("zone", String, nullable=False),
    Column("at", Moment, nullable=False, index=True),
)

spot_waits = Table(
    "spot_waits",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("since", Moment, nullable=False),
)

# Limits that jobs set themselves, and what was done about limits that were reached.
job_limits = Table(
    "job_limits",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("measure", String, primary_key=True),
    Column("said_by", String, primary_key=True),
    Column("most", Money, nullable=False),
    Column("at", Moment, nullable=False),
)

limit_marks = Table(
    "limit_marks",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("rule", String, primary_key=True),
    Column("measure", String, primary_key=True),
    Column("step", String, nullable=False),
    Column("at", Moment, nullable=False),
    Column("due_at", Moment),
)

# Instances that never became nodes, and what follows.
boot_failures = Table(
    "boot_failures",
    metadata,
    Column("instance_id", String, primary_key=True),
    Column("partition", String, nullable=False),
    Column("node_group", String, nullable=False),
    Column("node", String, nullable=False, index=True),
    Column("trouble", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("jobs", Numbers, nullable=False),
    Column("instance_type", String, nullable=False),
    Column("zone", String, nullable=False),
    Column("launched_at", Moment, nullable=False),
    Column("failed_at", Moment, nullable=False),
    Index(None, "partition", "node_group", "failed_at"),
)

consoles = Table(
    "consoles",
    metadata,
    Column("instance_id", String, primary_key=True),
    Column("text", Packed, nullable=False),
    Column("taken_at", Moment, nullable=False),
)

breakers = Table(
    "breakers",
    metadata,
    Column("partition", String, primary_key=True),
    Column("node_group", String, primary_key=True),
    Column("closed_at", Moment),
    Column("closed_until", Moment),
    Column("closings", Integer, nullable=False),
    Column("streak", Integer, nullable=False),
    Column("probe_until", Moment),
    Column("probe_by", String, nullable=False),
    Column("cleared_at", Moment),
)

# A row is in force until the next one of the same type, zone and market. zone: "" for the whole region.
prices = Table(
    "prices",
    metadata,
    Column("instance_type", String, primary_key=True),
    Column("zone", String, primary_key=True),
    Column("market", String, primary_key=True),
    Column("since", Moment, primary_key=True),
    Column("usd", Money, nullable=False),
    Column("source", String, nullable=False),
    Column("learned_at", Moment, nullable=False),
)

# One row: which controller of a pair works. See control.py.
control = Table(
    "control",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    Column("holder", String, nullable=False),
    Column("beat", Integer, nullable=False),
    Column("since", Moment),
)

# The plans jobs went by. Texts that many jobs share are packed: a job of an array has the same ones as its neighbours.
job_plans = Table(
    "job_plans",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("request_id", String, primary_key=True),
    Column("decided_at", Moment, nullable=False, index=True),
    Column("origin", Text, nullable=False),
    Column("plan", Packed, nullable=False),
    Column("why", Text, nullable=False),
    Column("refusal", Text, nullable=False),
    Column("filled", Packed, nullable=False),
    Column("rungs", Packed, nullable=False),
    Column("label", String, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("user", String, nullable=False),
    Column("account", String, nullable=False),
    Column("partition", String, nullable=False),
    Column("nodes", Integer, nullable=False),
    Column("price", Money),
    Column("time_limit_s", BigInteger),
    Index("ix_job_plans_user_name", "user", "name"),
)

# SQLite numbers rows by itself only where the column is an INTEGER, which holds 64 bits there.
_BIG = BigInteger().with_variant(Integer(), "sqlite")

# Who used which node when, how long that was watched, and what else instances have that costs. Nothing is forgotten.
job_runs = Table(
    "job_runs",
    metadata,
    Column("node", String, primary_key=True),
    Column("job_id", _BIG, primary_key=True, autoincrement=False, index=True),
    Column("restarts", Integer, primary_key=True, autoincrement=False),
    Column("started_at", Moment, primary_key=True, index=True),
    Column("ended_at", Moment, index=True),
    Column("user", String, nullable=False),
    Column("account", String, nullable=False),
    Column("partition", String, nullable=False),
    Column("name", String, nullable=False),
    Column("array_job_id", _BIG),
    Column("array_task_id", _BIG),
    Column("leader", _BIG, nullable=False),
    Column("cpus", Integer, nullable=False),
    Column("memory_mib", _BIG, nullable=False),
    Column("gpus", Integer, nullable=False),
    Column("state", String, nullable=False),
)

watches = Table(
    "watches",
    metadata,
    Column("begin", Moment, primary_key=True),
    Column("end", Moment, nullable=False),
)

volumes = Table(
    "volumes",
    metadata,
    Column("volume_id", String, primary_key=True),
    Column("instance_id", String, nullable=False, index=True),
    Column("kind", String, nullable=False),
    Column("gib", Integer, nullable=False),
    Column("iops", Integer, nullable=False),
    Column("throughput_mibs", Integer, nullable=False),
)

# Spot instances EC2 took back.
reclaims = Table("reclaims", metadata, Column("instance_id", String, primary_key=True))

events = Table(
    "events",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("kind", String, nullable=False),
    Column("level", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("request_id", String, nullable=False, index=True),
    Column("gang_id", String, nullable=False),
    Column("job_id", _BIG, index=True),
    Column("node", String, nullable=False, index=True),
    Column("instance_id", String, nullable=False),
    Column("data", Facts, nullable=False),
)

# What closed instances have cost whom. Amounts are billionths of a USD: whole numbers add up exactly in any database.
# job_id: 0 where no job bears it.
settlements = Table(
    "settlements",
    metadata,
    Column("instance_id", String, primary_key=True),
    Column("ended_at", Moment, nullable=False),
    Column("seconds", _BIG, nullable=False),
    Column("nanos", _BIG, nullable=False),
    Column("has_price", Boolean, nullable=False),
)
Index(
    "unpriced",
    settlements.c.instance_id,
    sqlite_where=settlements.c.has_price.is_(False),
    postgresql_where=settlements.c.has_price.is_(False),
)

charges = Table(
    "charges",
    metadata,
    Column("instance_id", String, primary_key=True),
    Column("day", String, primary_key=True, index=True),
    Column("kind", String, primary_key=True),
    Column("job_id", _BIG, primary_key=True, autoincrement=False),
    Column("user", String, nullable=False),
    Column("account", String, nullable=False),
    Column("partition", String, nullable=False),
    Column("node_group", String, nullable=False),
    Column("instance_type", String, nullable=False),
    Column("zone", String, nullable=False),
    Column("market", String, nullable=False),
    Column("seconds", _BIG, nullable=False),
    Column("compute", _BIG, nullable=False),
    Column("volumes", _BIG, nullable=False),
)

# Budgets. See budgets.py.
budget_books = Table(
    "budget_books",
    metadata,
    Column("budget", String, primary_key=True),
    Column("period", String, primary_key=True),
    Column("held", Money, nullable=False),
    Column("spent", Money, nullable=False),
    Column("granted", Money, nullable=False),
    Column("alerted", Integer, nullable=False),
)

budget_holds = Table(
    "budget_holds",
    metadata,
    Column("key", String, primary_key=True),
    Column("budget", String, primary_key=True),
    Column("period", String, nullable=False),
    Column("job_id", _BIG, nullable=False, index=True),
    Column("request_id", String, nullable=False),
    Column("user", String, nullable=False),
    Column("account", String, nullable=False),
    Column("usd", Money, nullable=False),
    Column("taken_at", Moment, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("spent", Money),
    Column("ended_at", Moment),
    Column("why", Text, nullable=False),
)

budget_entries = Table(
    "budget_entries",
    metadata,
    Column("key", String, primary_key=True),
    Column("job_id", _BIG, nullable=False, index=True),
    Column("job", String, nullable=False),
    Column("request_id", String, nullable=False),
    Column("account", String, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("asked_at", Moment, nullable=False),
    Column("transaction", String, nullable=False),
    Column("hold", Money),
    Column("cost", Money),
    Column("tries", Integer, nullable=False),
    Column("looks", Integer, nullable=False),
    Column("next_at", Moment),
    Column("said", Text, nullable=False),
    Index("ix_budget_entries_taken", "account", "transaction"),
)
