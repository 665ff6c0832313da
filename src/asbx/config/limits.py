"""Every time-out, batch size and lifetime, each with its reason. Nothing else may hold such a number."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

# EC2 ----------------------------------------------------------------------------------------------------------
# RunInstances' and CreateFleet's resource bucket holds 1,000 instances, and MinTargetCapacity ends there.
# AWS, "Request throttling for the Amazon EC2 API" and CreateFleet's MinTargetCapacity.
FLEET_MAX_NODES = 1000
# TerminateInstances takes 1,000 ids, "smaller batches advised" (EC2 API reference).
TERMINATE_BATCH = 500
# DescribeInstances by id: no limit is documented; 500 is what large users of the API send.
DESCRIBE_BATCH = 500
# CreateTags takes 1,000 resources a call (EC2 API reference, "Tag restrictions").
TAG_BATCH = 1000
# DescribeInstanceTopology takes 100 instance ids a call (EC2 API reference).
TOPOLOGY_BATCH = 100
# DescribeInstanceTypes takes 100 names a call (EC2 API reference); a filter, which asks for them, takes 200 values.
TYPES_BATCH = 100
# Ids in one call for subnets, security groups and reservations: a site has a handful.
FACTS_BATCH = 100
# Partitions of a partition placement group: seven in a zone are the most (EC2 user guide, "Placement strategies").
PARTITIONS = 7
# A tag value holds 256 characters (EC2 user guide, "Tag restrictions").
TAG_VALUE_MAX = 256
# Tag calls in flight at once, for the fallback of one call per instance: CreateTags is rate-limited per account.
TAG_PARALLEL = 4
# Of a reservation's 50 tags, how many may carry its node list before one tag per instance is the simpler way.
NODE_LIST_TAGS = 8
# More reservations than this in one answer: name the nodes one by one instead.
NAMING_RESERVATIONS = 16
# EC2 shows a fresh id or its address late (eventual consistency): first pause and growth of the poll.
DESCRIBE_FIRST_PAUSE = timedelta(milliseconds=200)
DESCRIBE_PAUSE_FACTOR = 1.7
DESCRIBE_LONGEST_PAUSE = timedelta(seconds=5)
# An instance without an address after this long is given back.
ADDRESS_DEADLINE = timedelta(seconds=60)
# Pauses between tries of the same rung after throttling or server trouble.
RETRY_FIRST_PAUSE = timedelta(seconds=1)
RETRY_LONGEST_PAUSE = timedelta(seconds=20)
RETRY_MOST = 6
# Credentials of a role are renewed this long before their end if that works, and this long before it must work; these
# are botocore's own values (credentials.py), and a quarter of a session that is short.
RENEW_EARLY = timedelta(minutes=15)
RENEW_LATE = timedelta(minutes=10)
AWS_CONNECT_TIMEOUT = timedelta(seconds=5)
# CreateFleet of 1,000 instances answers in tens of seconds.
AWS_READ_TIMEOUT = timedelta(seconds=60)
# Slurm --------------------------------------------------------------------------------------------------------
SCONTROL_TIMEOUT = timedelta(seconds=60)
# Node names per `scontrol update`; scontrol takes up to 10,000 a range. The command line stays below 128 KiB.
SCONTROL_BATCH = 5000
# Job ids per call: with their commas they stay below the 128 KiB Linux allows one argument.
SCONTROL_JOBS = 5000
# Characters of a Reason or an AdminComment: something to read in `scontrol show`, not a log.
FREE_TEXT_MAX = 500
# A launch must leave the node time to boot and register: no new try later than this share of ResumeTimeout.
LAUNCH_SHARE_OF_RESUME_TIMEOUT = 0.5
# How much shorter or longer than planned a job is put off, so that jobs that failed together do not come back together.
BACKOFF_JITTER = 0.2
# No job is tried again sooner than this, whatever the configuration says: slurmctld schedules in passes of seconds.
BACKOFF_LEAST = timedelta(seconds=5)
# Many jobs that wait for one moment (a new month, for one) are spread over no more than this.
BACKOFF_MOST_SPREAD = timedelta(minutes=15)
# Commands of Slurm at once, where each job needs one: slurmctld serves one update at a time, this hides start-up.
SCONTROL_AT_ONCE = 4
# A job whose nodes went DOWN is PENDING at once, or after its processes on other nodes are gone; slurm-gcp waits 10 s.
REQUEUE_PATIENCE = timedelta(seconds=10)
REQUEUE_FIRST_PAUSE = timedelta(milliseconds=100)
REQUEUE_LONGEST_PAUSE = timedelta(seconds=2)
# Capacity Blocks -----------------------------------------------------------------------------------------------
# EC2 begins to end a block's instances 30 minutes before its end (EC2 user guide, "Capacity Blocks for ML").
BLOCK_ENDS_EARLY = timedelta(minutes=30)
# Karpenter drains 10 minutes before that, which leaves them for a checkpoint. `reservations.drain_before_end_seconds`.
BLOCK_CLOSES_BEFORE_END = timedelta(minutes=40)
# A fence without an end, as far away as Slurm takes it (an infinite reservation is one of a year).
FENCE_FOR_GOOD = timedelta(days=365)
# Topology ------------------------------------------------------------------------------------------------------
# A reconfigure has slurmctld read everything anew, so no more of them (cluster-toolkit PR 6236 had one for each node).
TOPOLOGY_EVERY = timedelta(minutes=5)
# How often EC2 is asked for the place of an instance of which it tells nothing: most types have none.
TOPOLOGY_TRIES = 3
# Limits ---------------------------------------------------------------------------------------------------------
# A call whose request was closed without an answer counts as launched for so long: several reconcile passes, which find
# by their tag what it has launched.
UNSETTLED = timedelta(minutes=10)
# How far back the ended instances of running jobs are looked for: longer than a job usually runs.
LIMIT_LOOK_BACK = timedelta(days=30)
# Telemetry ----------------------------------------------------------------------------------------------------
# What is read from the ledger for a scrape serves others this close to it; Prometheus asks every 15 s or less often.
SCRAPE_LIFE = timedelta(seconds=5)
# A slow reader holds a thread of the daemon no longer than this, and of these there are so many at most.
SCRAPE_TIMEOUT = timedelta(seconds=10)
SCRAPES_AT_ONCE = 8
# The checks of /healthz write to the ledger; a load balancer may ask every second.
HEALTH_LIFE = timedelta(seconds=5)
# The daemon's loop turns every SPOOL_POLL; it waits LEDGER_BUSY at most a few times a turn.
LOOP_PATIENCE = timedelta(seconds=60)
# A spool file is taken in within one turn of the loop; one that lies for longer is stuck.
SPOOL_PATIENCE = timedelta(seconds=60)
# Launches whose beginning is remembered for their latency; a cluster has a few hundred under way.
LAUNCHES_TIMED = 10_000
# How often `asbx status --watch` looks again.
WATCH_EVERY = timedelta(seconds=2)
# Daemon -------------------------------------------------------------------------------------------------------
# The spool is read on a nudge; this often too, in case a nudge was lost.
SPOOL_POLL = timedelta(seconds=2)
# Requests worked on at once: each waits mostly, a gang for minutes until its instances run.
REQUESTS_AT_ONCE = 32
# The ledger waits this long for another writer (a hook without daemon, the CLI) before it gives up.
LEDGER_BUSY = timedelta(seconds=10)
# A database server that does not even answer a connection; a request rests and tries again.
LEDGER_CONNECT = timedelta(seconds=5)
# Two controllers: how often each looks who is in control, and how long the working one may be silent before the other
# may take over. A ping of a host that is off takes Slurm's MessageTimeout of 10 s, and must fit in.
CONTROL_EVERY = timedelta(seconds=2)
CONTROL_PING = timedelta(seconds=11)
CONTROL_LEASE = timedelta(seconds=15)
# How long slurmctld may take to answer a simple question before it counts as not serving.
CONTROL_ANSWER = timedelta(seconds=5)
# How often old rows are forgotten, and how many at once: a write that lasts long keeps launches waiting.
PRUNE_EVERY = timedelta(minutes=10)
PRUNE_MOST = 2000
# After the ledger refused an audit row, none is tried for this long: each try may wait LEDGER_BUSY, and a launch
# must not stand still for its own history.
AUDIT_PAUSE = timedelta(seconds=30)
# Reading ----------------------------------------------------------------------------------------------------
# A configuration file larger than this is a mistake (10,000 groups fit).
CONFIG_MAX_BYTES = 4 * 1024 * 1024
# What one of Slurm's commands may print, in characters. 26.05's JSON has 7 KB for a node, so 10,000 of them are 70 MB.
SLURM_MAX_OUTPUT = 512 * 1024 * 1024
# The daemon's answer about its state has a few KB; whoever asks reads no more than this.
STATUS_MAX_BYTES = 16 * 1024 * 1024
# The resume file of a 10,000-node, 10,000-job call is about 2 MB.
SPOOL_MAX_BYTES = 64 * 1024 * 1024
PLAN_MAX_BYTES = 1024 * 1024
# Catalogue ----------------------------------------------------------------------------------------------------
# Karpenter refreshes instance types and offerings every 12 hours; new ones come a few times a year.
TYPES_LIFE = timedelta(hours=12)
# A version never changes, but $Default and $Latest move when an administrator makes a new one; images never change.
TEMPLATE_LIFE = timedelta(minutes=5)
IMAGE_LIFE = timedelta(hours=12)
# Free addresses change with each launch; Karpenter keeps subnets a minute.
SUBNET_LIFE = timedelta(seconds=60)
# A raised quota is granted by people, after hours.
QUOTA_LIFE = timedelta(minutes=30)
# Places in a reservation change with each launch.
RESERVATION_LIFE = timedelta(seconds=60)
# Rules of a security group change by hand; somebody who adds the missing one should not wait long.
SELF_RULE_LIFE = timedelta(minutes=10)
# Spot placement scores are a forecast, and an account may ask for few configurations a day (EC2 user guide, "Spot
# placement score", limitations).
SPOT_SCORE_LIFE = timedelta(minutes=10)
# A read that EC2 refused is not repeated for this long: it costs a launch a round trip and its retries.
REFUSED_LIFE = timedelta(seconds=30)
# When a read is refused, what was learned before serves on for so long at most, as in Karpenter.
STALE_LIFE = timedelta(hours=24)
# GetSpotPlacementScores rates fewer than three instance types low, whatever there is (EC2 API reference).
SPOT_SCORE_TYPES = 3
# Prices -------------------------------------------------------------------------------------------------------
# On-demand prices change rarely; spot moves by the hour.
ON_DEMAND_PRICE_LIFE = timedelta(hours=12)
SPOT_PRICE_LIFE = timedelta(minutes=5)
# How far back instances are looked for, once an hour, that ended while nobody told their price.
UNPRICED_REACH = timedelta(days=30)
# Prices the daemon refreshes are asked for by nobody else until so many refreshes have come to nothing.
REFRESHES_MISSED = 2
# A filter's value has at most 1,024 characters (Price List API reference, Filter).
PRICE_FILTER_CHARS = 1024
# DescribeSpotPriceHistory answers up to 1,000 changes a page, and reaches back 90 days (EC2 API reference).
SPOT_HISTORY_PAGE = 1000
SPOT_HISTORY_REACH = timedelta(days=90)
# A change may become visible a little after the moment it names: each question about spot reaches back so far.
SPOT_HISTORY_OVERLAP = timedelta(hours=1)
# A price list that gave no answer is asked again after this; where it is a missing permission, after REFUSED_AGAIN.
PRICES_AGAIN = timedelta(minutes=5)
# Below this CreateFleet answers InvalidParameterValue (FleetLaunchTemplateOverridesRequest, MaxPrice).
LEAST_SPOT_PRICE = Decimal("0.001")
# Digits after the point of a limit that is worked out; EC2 tells spot prices with six.
SPOT_PRICE_STEP = Decimal("0.000001")
# Interruptions older than this say nothing of a pool any more, and each counts half as much after every half-life: what
# makes EC2 take instances back (a big customer's runs, a new generation) comes and goes within days.
INTERRUPTION_WINDOW = timedelta(days=7)
INTERRUPTION_HALF_LIFE = timedelta(days=1)
# By how much a fresh interruption makes a pool dearer when pools are ordered. A guess: about what a job loses that had
# come some way; at a third of the on-demand price it takes eight of them to make spot count as dear as on-demand.
INTERRUPTION_PRICE = Decimal("0.25")
# From this weight on a pool is asked only when the calmer ones have refused: two fresh interruptions, or more older
# ones. A single one happens in every pool.
RESTLESS_FROM = Decimal(2)
# One configuration of spot placement scores is asked for in so long: an account may ask for few new ones a day (EC2
# user guide, "Spot placement score", limitations).
SPOT_SCORE_EVERY = timedelta(minutes=5)
# How often prices that nobody needs any more are forgotten: there are a few a day of each pool.
FORGET_PRICES_EVERY = timedelta(days=1)
# How far back a daemon that starts looks for them: what a longer pause has left stays, some bytes a price.
FORGET_PRICES_REACH = timedelta(days=30)
# A price file of every type in every zone of a region has about ten thousand lines, a hundred bytes each.
PRICE_FILE_MAX_BYTES = 4 * 1024 * 1024
# Launches of one request in flight at once: CreateFleet's request bucket is small and shared by the account.
GANGS_AT_ONCE = 8
# How often a command that waits for the daemon looks at the ledger.
WAIT_POLL = timedelta(milliseconds=200)
# Values in a configuration file, aliases followed: a group needs about fifty, and each level of aliases multiplies.
CONFIG_MAX_VALUES = 400_000
# Our deepest key has eight levels; deeper files are attacks on the reader's stack.
CONFIG_MAX_DEPTH = 24
# How long a companion program may take to tell its version.
COMPANION_TIMEOUT = timedelta(seconds=5)
# A restart of slurmctld takes seconds; a request waits so long for it before its launch is given up.
SLURM_PATIENCE = timedelta(seconds=45)
SLURM_PAUSE = timedelta(seconds=3)
# EC2 may not know a fresh id for some seconds (eventual consistency); one unseen after this long is gone.
UNSEEN_GRACE = timedelta(minutes=5)
# EC2 shows a terminated instance for about an hour (EC2 API reference, DescribeInstances): then it cannot be asked.
ENDED_SHOWN = timedelta(hours=1)
# What ended while the last pass was looking is asked for again: a request in work may have written it a little later.
DATED_AGAIN = timedelta(minutes=2)
# A request in trouble that may pass (ledger, EC2, slurmctld) rests this long before it is tried again, and twice as
# long each time: an hour without EC2 is a few dozen tries a request, and what comes back is noticed within two minutes.
REST = timedelta(seconds=5)
LONGEST_REST = timedelta(minutes=2)
# Instances one sweep gives their Name tag, one call each: the rest waits for the next.
SWEEP_TAGS = 100
# A placement group's name has at most 255 ASCII characters (EC2 user guide, "Placement group rules").
GROUP_NAME_MAX = 255
# A spread group holds seven running instances a zone (the same page); more of them need several zones.
SPREAD_MOST = 7
# Pauses before each try to end what cannot be used: EC2 may not know a fresh id for some seconds.
GIVE_BACK_PAUSES = (timedelta(0), timedelta(seconds=1), timedelta(seconds=3), timedelta(seconds=6))
# Placement groups one sweep tries to remove, one call each: the rest waits for the next.
GROUPS_AT_ONCE = 200
# A derived launch template is written down as used this often, and removed when nobody has used it for so long.
TEMPLATE_USED = timedelta(hours=12)
TEMPLATE_UNUSED = timedelta(days=7)
# Memory of empty pools: first and longest cool-down, doubling with refusals in a row ---------------------------
# Capacity comes and goes within minutes: Karpenter went from 45 s to 60 s to 3 min (its pull requests 1715, 7477);
# a pool that is empty for hours then costs two calls an hour, as slurm-gcp's longest of 30 min does.
CAPACITY_COOLDOWN = (timedelta(seconds=60), timedelta(minutes=30))
# A quota frees up when somebody's instances end, and rises when AWS answers a request, which takes hours.
QUOTA_COOLDOWN = (timedelta(minutes=5), timedelta(hours=2))
# Limits on volumes, interfaces or groups: they too free up as instances end.
LIMIT_COOLDOWN = (timedelta(seconds=60), timedelta(minutes=10))
# A subnet frees addresses as instances end; others' network interfaces may hold them for longer.
ADDRESSES_COOLDOWN = (timedelta(seconds=60), timedelta(minutes=10))
# Where a type is sold changes a few times a year.
NOT_OFFERED_COOLDOWN = (timedelta(hours=24), timedelta(hours=24))
# Nobody asked for this long after the cool-down: what was learned is no longer worth one launch at a time.
SHORTAGE_QUIET = timedelta(hours=1)
# One launch tries a half-open pool. CreateFleet may take AWS_READ_TIMEOUT, and once more after a lost answer;
# the lease ends only a probe whose program died.
PROBE_LEASE = timedelta(minutes=2)
# How often a gang looks whether another's probe of the only pools left is over.
PROBE_PAUSE = timedelta(seconds=2)
# A gang's instances must all run before Slurm hears of them. EC2 starts most within seconds, bare metal within minutes;
# what is still pending after this share of ResumeTimeout cannot boot in time.
RUNNING_SHARE_OF_RESUME_TIMEOUT = 0.8
# Launch index lists that network order would scatter: topology is asked for 100 instances a call, so no more of them.
TOPOLOGY_MOST = 1000
# Boot failures and health -----------------------------------------------------------------------------------------
# Newest failures of a group that are read to count those in a row.
BOOT_FAILURES_READ = 1000
# EC2 keeps the last 64 KB of a console (EC2 API reference, GetConsoleOutput).
CONSOLE_MAX_BYTES = 64 * 1024
# Consoles fetched at once, a call each and instances that cost money meanwhile: those of one burst fail alike.
CONSOLES_AT_ONCE = 3
# How long consoles are kept, and how many at most (packed, some 10 KiB each): whoever asks why, asks within days.
CONSOLE_LIFE = timedelta(days=14)
CONSOLES_MOST = 200
# Beyond ResumeTimeout, how long a probe may be without news: its failure is seen within a sweep or two.
PROBE_NEWS = timedelta(minutes=3)
# A call for health or consoles that lacks a permission is tried again so often: administrators grant it by hand.
REFUSED_AGAIN = timedelta(minutes=30)
# DescribeInstanceStatus gives up to 1,000 rows a page (EC2 API reference).
STATUS_PAGE = 1000
# Interruptions ------------------------------------------------------------------------------------------------
# The most SQS gives in one call, and the longest it waits for a message (SQS API reference, ReceiveMessage).
NOTICE_BATCH = 10
NOTICE_WAIT = timedelta(seconds=20)
# A message that is not deleted comes again after this. Handling one takes a second; Karpenter has 20 s.
NOTICE_VISIBILITY = timedelta(seconds=20)
# Messages worked on at once, each with a call of scontrol; Karpenter has 10.
NOTICE_HANDLERS = 10
# SQS takes 256 KiB, and more in newer queues; EC2's messages have less than one.
NOTICE_MAX_BYTES = 256 * 1024
# Instances named by one message of AWS Health; a page of them has 50.
NOTICE_MOST_INSTANCES = 1000
# A warning about an instance that has no node yet is looked at again until it is so old that the instance is gone.
NOTICE_LATE = timedelta(minutes=5)
# Warnings already acted on, so that SQS may bring them twice.
NOTICES_REMEMBERED = 10_000
# Pauses after a queue that does not answer.
QUEUE_FIRST_PAUSE = timedelta(seconds=1)
QUEUE_LONGEST_PAUSE = timedelta(seconds=60)
# EC2 interrupts a spot instance two minutes after its warning (EC2 user guide, "Spot Instance interruption notices").
SPOT_NOTICE = timedelta(minutes=2)
# A requeued job has KillWait (30 s by default) to end its processes before they are killed (slurm.conf(5)).
EVACUATION_MARGIN = timedelta(seconds=35)
# How often jobs on nodes that will go are looked at, each with two processes of Slurm.
EVACUATION_LOOK = timedelta(seconds=1)
# The instance has been gone for so long: what is left is for the sweep.
EVACUATION_OVER = timedelta(seconds=60)
# Job scripts ---------------------------------------------------------------------------------------------------
# What Slurm sees of a type's memory, once kernel and firmware have theirs: Karpenter assumes 92.5 % until a node tells.
SLURM_SEES_OF_MEMORY = 0.925
# Types an analysis puts into a plan: alternatives where a pool is empty. Karpenter sends at most 60 a launch; of types
# that waste more than these there is little use.
PLAN_MOST_TYPES = 8
# What an interruption may cost a job that cannot go on where it was: hours of one node, or minutes of many.
SPOT_LONGEST_WITHOUT_CHECKPOINT = timedelta(hours=4)
SPOT_SHORT_JOB = timedelta(hours=1)
# slurmctld takes scripts of 4 MiB (slurm.conf(5), SchedulerParameters, max_script_size).
SCRIPT_MAX_BYTES = 4 * 1024 * 1024
# Scripts read for one request, a process of Slurm each, before its first launch: many gangs at once are mostly alike.
SCRIPTS_A_REQUEST = 64
# At launch a longer script is not read: one takes 30 s a megabyte where its lines are made for that (measured), and it
# is a user's. People write a few kilobytes; longer ones carry an archive.
SCRIPT_AT_LAUNCH = 64 * 1024
# Characters of different scripts read for one request: eight seconds of processor at the worst, before its launches.
SCRIPTS_AT_LAUNCH = 256 * 1024
# A script only advises a launch, so a launch waits less for it than for what it needs.
SCRIPT_PATIENCE = timedelta(seconds=10)
# Quotes are understood in commands up to this long: shlex takes time by the square, and a script may be one word.
COMMAND_MAX_CHARS = 8192
# Decisions kept of one job: a job that waits for room is planned anew each time, and only the last ones explain it.
JOB_PLANS_KEPT = 20
# Characters of a plan kept with each job: the advisor's have 4,000, and all tasks of an array may name one plan. Of a
# longer one only where it came from is kept.
PLAN_TEXT_KEPT = 16_384
# Earlier runs of a job's name that are looked at, the last ones and no older ones: programs change.
HISTORY_MOST_RUNS = 50
HISTORY_SPAN = timedelta(days=90)
# Of fewer runs than these nothing is expected: one odd one would be a third of them or more.
HISTORY_LEAST_RUNS = 4
# The range that is told leaves out this share of the runs at each end: with four to nine runs none.
HISTORY_TAIL = 0.1
# The largest MaxArraySize that slurm.conf(5) allows: indexes are below it.
MOST_ARRAY_INDEXES = 4_000_001
# Pauses before the second look at what is not as ordered, and further ones where EC2 does not answer.
SECOND_LOOK_PAUSES = (timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=4))
# Reconcile passes ---------------------------------------------------------------------------------------------
# EC2 itself says that an instance has ended: the second look only makes sure that it was not misread.
CONFIRM_GRACE = timedelta(seconds=10)
# EC2 shows a terminated instance for about an hour (EC2 user guide, "Terminate your instance"); when it knows none of
# many for longer than that, they are gone, and no wrong account or region was asked for a moment.
UNSEEN_MANY_GRACE = timedelta(hours=1)
# Slurm waits UnkillableStepTimeout (60 s) for processes that do not die, and for epilogs; long ones copy files.
COMPLETING_GRACE = timedelta(minutes=15)
# Two looks further apart than this are no watch: the clock was stepped, or the machine slept.
LONGEST_GAP = timedelta(minutes=15)
# What was done and changed nothing is done again after twice the time, so often at most (64 times the grace).
REPEATS_DOUBLE = 6
# A hook writes its file within milliseconds; a temporary one this old belongs to a hook that was killed.
SPOOL_TEMPORARY = timedelta(hours=1)
# Requests nobody could read are kept for whoever looks into it; after this long they are worth a reminder.
SPOOL_ASIDE = timedelta(days=30)
# Budgets ------------------------------------------------------------------------------------------------------
# A launch whose instances are gone is charged after this: EC2's own times of their end are in the ledger by then.
BUDGET_SETTLE_GRACE = timedelta(minutes=1)
# An instance whose price is not known by then is charged as it was estimated.
BUDGET_PRICE_PATIENCE = timedelta(hours=1)
# All questions of one request to the budget service, one after the other, however many jobs it has.
ASBB_LAUNCH_MOST = timedelta(seconds=60)
# One that did not answer in time is asked nothing for so long: each launch would wait for the time-out again.
ASBB_REST = timedelta(minutes=2)
# A call that got no answer may still be worked on there: so long its effect is not judged. A server in front of a
# database ends what it does with a request seconds after we hung up.
ASBB_SETTLES = timedelta(minutes=10)
# The service's clock may be off by so much from ours.
ASBB_CLOCK_SKEW = timedelta(minutes=2)
# Transactions of an account read at first, and where that was not all of them.
ASBB_TRANSACTIONS = (200, 20_000)
# Looks for what became of a call without an answer; then somebody must look.
ASBB_LOOKS = 6
# Pauses before what a job cost is told again.
ASBB_FIRST_PAUSE = timedelta(minutes=1)
ASBB_LONGEST_PAUSE = timedelta(hours=6)
# Calls for what is owed, made by one pass: the next one goes on.
ASBB_A_PASS = 50
# A charge of more than so many times what the service held for the job is a mistake of ours.
ASBB_MOST_OVER_HOLD = 100
# An answer has less than a kilobyte, 20,000 transactions eight megabytes.
ASBB_MAX_BYTES = 16 * 1024 * 1024
# Learning -----------------------------------------------------------------------------------------------------
# The advisor states 1.2 times its own estimate as the limit of cost (seen in every plan it wrote).
ADVISOR_MARGIN = Decimal("1.2")
# How often jobs that are over are looked at again until their instances are gone, too: idle nodes last minutes.
SETTLE_EVERY = timedelta(seconds=5)
# One that nobody knows or that runs again is asked for less and less often: each question is a process of Slurm.
SETTLE_LONGEST_PAUSE = timedelta(minutes=5)
# What a companion may print before it is cut off: --help of real ones has a few KB.
COMPANION_MAX_BYTES = 64 * 1024

# -- money
# EC2's own times, and the last word of Slurm on a job, come some passes after an instance's end (flow/dating, usage).
SETTLE_AFTER = timedelta(minutes=10)
# Instances settled in one pass: some 50 ms of work; a ledger that is behind catches up pass by pass.
SETTLE_MOST = 1000
# Jobs that are not settled yet and may be among the dearest of a report: within what SQLite takes in one statement.
REPORT_FRESH_ROWS = 400
# What-if ------------------------------------------------------------------------------------------------------
# Jobs of a trace that are held in memory at once: some 300 bytes each.
TRACE_MOST_JOBS = 1_000_000
# A line of 18 numbers has some 150 characters, one of sacct with every field some thousand.
TRACE_LONGEST_LINE = 64 * 1024
# Lines that could not be read and are named one by one; the rest is counted.
TRACE_NAMED_FAULTS = 20
# No job has more processors than the largest machine there is (some ten million), none runs for ten years, and no
# log is a century long: numbers beyond are damage.
TRACE_MOST_PROCS = 20_000_000
TRACE_LONGEST_RUN = timedelta(days=3650)
TRACE_LONGEST_LOG = timedelta(days=36_500)
# Policies side by side: as many as colours are told apart in a chart, and columns fit a wide terminal.
POLICIES_MOST = 6
# Seeds a policy is played with: each is a whole run.
SEEDS_MOST = 20
# Bounded slowdown: jobs shorter than this count as this long, so that seconds of waiting do not look like hours
# (Feitelson, "Metrics for parallel job scheduling and their convergence", 2001).
SLOWDOWN_BOUND = timedelta(seconds=10)
# How long a what-if goes on after the trace has ended, at least, while jobs still wait.
WHATIF_PATIENCE = timedelta(days=7)
# Between reconcile passes of a what-if, at least: at a minute apart, passes that find nothing are most of its work.
WHATIF_RECONCILE = timedelta(minutes=5)
# Use of nodes ----------------------------------------------------------------------------------------------------
# Of a job's name, which is free text; `squeue` itself shows eight characters.
JOB_NAME_KEPT = 120
# Jobs of several nodes whose spread was asked for; a table begins anew beyond.
USAGE_SPREADS_MOST = 20_000
# slurmctld forgets jobs MinJobAge after their end (slurm.conf(5)). Looks further apart than that, less this for a slow
# answer and for whole seconds, may have missed some: then the accounting is asked.
USAGE_MARGIN = timedelta(seconds=15)
# Where the last look is older than this nobody looks any more: what lives is not known to be idle.
USAGE_STALE = timedelta(minutes=10)
# How far back the accounting is asked for what a pause has missed, in one call: a long weekend.
USAGE_CATCH_UP = timedelta(days=4)
# Accounting that was not there is asked for again so often; each time is one process.
USAGE_HISTORY_AGAIN = timedelta(minutes=30)
# A look when nodes have been suspended is not repeated within this: many requests come at once.
USAGE_FRESH = timedelta(seconds=5)
# How often an instance is asked for its volumes: those of one that has just begun may not be shown, and one whose root
# device is no EBS volume has none.
VOLUMES_ASKED = 3
# For so many instances the record is asked by their nodes and ids; for more, for all of their time.
LIVES_BY_NODE = 2000
# DescribeVolumes gives up to 500 rows a page, and a filter takes 200 values (EC2 API reference).
VOLUMES_PAGE = 500
# -- charts
# Bars of a day up to so many days (a quarter), then of a week up to so many weeks (two years), then of a month: at 1200
# pixels thinner bars run into one another.
CHART_DAYS = 92
CHART_WEEKS = 104
# Colours of the Okabe-Ito palette that are told apart by people who see few, and grey for the rest.
CHART_SERIES = 8
# Points of a cloud: more cover one another, and each is some 100 bytes of SVG.
CHART_POINTS = 2000
# -- monthly reports
# Jobs listed: what a person reads.
REPORT_DEAREST = 20
