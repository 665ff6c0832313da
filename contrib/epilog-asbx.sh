#!/bin/sh
# EpilogSlurmctld: has each job's measurements exported once its instances are gone. See docs/how-to/learning.md.
#
# It notes the job in an empty file, leaves the work to one process in the background, and ends with 0 whatever happens:
# slurmctld runs it beside everything else. One process works and at most one waits behind it, however many jobs end.
# Slurm gives it almost no environment, so what it needs stands here.
asbx=${ASBX_PROGRAM:-/opt/asbx/bin/asbx}
config=${ASBX_CONFIG:-/etc/slurm/aws-burst.yaml}
spool=${ASBX_SPOOL:-/var/spool/asbx}
log=${ASBX_EPILOG_LOG:-/var/log/slurm/asbx-epilog.log}
# The longest it may work: learning.settle_seconds, and what the last exports take.
limit=${ASBX_EPILOG_LIMIT:-7200}
PATH=${PATH:-/usr/bin:/bin}
export PATH ASBX_CONFIG="$config"
umask 077

case ${SLURM_JOB_ID:-} in
  '' | *[!0-9]*) exit 0 ;;
esac
due=$spool/learning
mkdir -p "$due" 2>/dev/null
true >"$due/$SLURM_JOB_ID" || exit 0
true 2>/dev/null >>"$log" || log=/dev/null

# Slurm kills what the script leaves in its process group, so the script ends no sooner than the worker has a session of
# its own: the substitution lasts until the worker has let go of the pipe.
# Whoever finds that another waits already leaves the job to it: it will look after it has begun, so after our note.
begun=$(setsid sh -c '
  exec </dev/null >>"$4" 2>&1 8>"$1/.waits" 9>"$1/.works" || exit
  flock -n 8 || exit
  flock 9
  flock -u 8
  exec timeout "$2" nice "$3" export-due
' asbx-epilog "$due" "$limit" "$asbx" "$log" &)
exit 0
