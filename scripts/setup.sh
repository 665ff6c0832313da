#!/bin/sh
# Bring what ASBX needs onto this machine: Debian packages that are missing, uv in .uv/, the locked environment in .venv/.
#
#   scripts/setup.sh build    the programs only
#   scripts/setup.sh demo     and a real Slurm with MPI
#   scripts/setup.sh test     and accounting (slurmdbd, MariaDB), PostgreSQL, linters and test tools
#
# May be run any number of times. Starts no service, and touches nothing outside this folder but the package system.
set -eu

cd "$(dirname "$0")/.."
level=${1:-test}
uv_version=0.13.9

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# -- Debian packages ---------------------------------------------------------------------------------------------

# The first Python that is new enough and can make virtual environments. Debian's own comes first: a home folder's
# Python cannot be read by the other users a lab may run as.
find_python() {
  for candidate in /usr/bin/python3 /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11 \
                   python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
}

# Whether the host's own name means a loopback address, which Slurm's daemons then bind (src/asbx/lab/loopback.py).
name_is_loopback() { getent ahostsv4 "$(uname -n)" 2>/dev/null | head -n 1 | grep -q '^127\.'; }

wanted() {
  [ -n "$(find_python)" ] || echo python3 python3-venv
  case $level in
    demo|test) echo slurmctld slurmd slurm-client munge openmpi-bin libopenmpi-dev gcc libc6-dev
               name_is_loopback || echo libnss-wrapper ;;
  esac
  # The core packages have no service: the lab runs its own MariaDB. The client one has a part of the installer.
  # PostgreSQL's makes a cluster of its own, which is not started; tests and labs run theirs in a folder.
  case $level in test) echo slurmdbd mariadb-server-core mariadb-client-core postgresql libnss-wrapper ;; esac
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ]; }

missing() { for package in $(wanted); do is_installed "$package" || printf '%s ' "$package"; done; }

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

apt() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >&2
}

# invoke-rc.d(8) asks this program whether a service may start. One that is there already is the machine's own rule.
policy=/usr/sbin/policy-rc.d
mark='# aws-slurm-burst setup, removed when it ends'
forbid_services() {
  [ -e "$policy" ] && return
  trap allow_services EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  printf '#!/bin/sh\n%s\nexit 101\n' "$mark" | as_root tee "$policy" >/dev/null
  as_root chmod 755 "$policy"
}
allow_services() { if grep -qsF "$mark" "$policy"; then as_root rm -f "$policy"; fi; }

# Where the machine's own rule lets services start, those the install has started are stopped again.
services="munge slurmctld slurmd slurmdbd postgresql"
running() {
  [ -d /run/systemd/system ] || return 0
  for service in $services; do systemctl -q is-active "$service" 2>/dev/null && echo "$service"; done || true
}

install_packages() {
  packages=$(missing)
  [ -n "$packages" ] || return 0
  command -v apt-get >/dev/null || die "this is no Debian; install by other means what these packages hold: $packages"
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    die "these packages are missing and you are neither root nor have sudo; ask for: apt-get install $packages"
  fi
  say "installing $packages"
  before=$(running)
  forbid_services
  ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || apt update
  # shellcheck disable=SC2086  # a list of names
  apt install --no-install-recommends $packages \
    || { apt update && apt install --no-install-recommends $packages; } \
    || die "apt-get could not install: $packages"
  for service in $(running); do
    case " $(echo $before) " in *" $service "*) ;; *) as_root systemctl stop "$service" ;; esac
  done
  allow_services
}

# -- Python -----------------------------------------------------------------------------------------------------

install_python() {
  python=$(find_python)
  [ -n "$python" ] || die "no Python 3.11 or newer with its venv module was found; install python3 and python3-venv"
  if ! [ -x .uv/bin/uv ] || [ "$(.uv/bin/uv --version | cut -d ' ' -f 2)" != "$uv_version" ]; then
    say "installing uv $uv_version into .uv"
    "$python" -m venv --clear .uv
    .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version" \
      || die "uv cannot be installed; is the Python package index reachable?"
  fi
  # An environment made by hand stays in use; --inexact leaves what another level has installed.
  if [ -x .venv/bin/python ]; then python=.venv/bin/python; fi
  case $level in test) group="--group dev" ;; *) group="--no-dev" ;; esac
  # shellcheck disable=SC2086
  UV_PYTHON_DOWNLOADS=never .uv/bin/uv sync --quiet --frozen --inexact --extra lab --extra sim $group --python "$python"
}

case $level in
  build|demo|test) ;;
  *) die "say build, demo or test" ;;
esac
install_packages
install_python
