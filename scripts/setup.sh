# shellcheck shell=bash
# Sourced by the other scripts: what they need on this machine, made if it isn't there.
# Quick when nothing is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Daemons live in sbin, which is not on everybody's path.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

die() {
    echo "$*" >&2
    exit 1
}

# install_packages NAME...: install Debian packages without starting or enabling their services.
install_packages() (
    local service_policy=/usr/sbin/policy-rc.d unit log waiting
    local -a new_units=()
    [[ $EUID -eq 0 ]] || die "Please install these packages first, or run this as root: $*."
    command -v apt-get >/dev/null || die "Please install what Debian calls: $*."
    # Of two scripts that run at the same time one waits for the other.
    exec {waiting}>/var/lock/towline-set-up
    flock "$waiting"
    echo "Installing $* ..." >&2
    for unit in docker.service docker.socket containerd.service docker-registry.service \
        podman.service podman.socket podman-restart.service podman-auto-update.service \
        podman-auto-update.timer; do
        [[ -e /lib/systemd/system/$unit ]] || new_units+=("$unit")
    done
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    # The machine's own policy, if it has one, stands. Ours holds only as long as this script
    # runs, should it be killed before it can take it away.
    if [[ ! -e $service_policy ]] || grep -q 'Towline set-up' "$service_policy"; then
        trap 'rm -f "$service_policy" "$log"' EXIT
        printf '#!/bin/sh\n# Towline set-up: no new service starts.\n[ ! -d /proc/%d ] || exit 101\n' \
            $$ >"$service_policy"
        chmod 755 "$service_policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    local -a apt=(apt-get -qq -o DPkg::Lock::Timeout=120)
    { "${apt[@]}" update && "${apt[@]}" install --yes --no-install-recommends "$@"; } \
        &>"$log" </dev/null || {
        cat "$log" >&2
        die "These packages could not be installed: $*."
    }
    for unit in "${new_units[@]}"; do
        [[ ! -e /lib/systemd/system/$unit ]] || systemctl --quiet disable "$unit" &>/dev/null || true
    done
)

# The project and its locked tools in .venv; made anew only when the lock or the project changed.
set_up_python() {
    local stamp=.venv/towline-set-up python=${PYTHON:-python3} wanted
    wanted="$(cat requirements-build.lock requirements-dev.lock pyproject.toml | sha256sum) $PWD"
    [[ ! -e $stamp || $(<"$stamp") != "$wanted" ]] || return 0

    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "Python 3.11 or later is needed; PYTHON=/path/to/python3 names one."
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
    # A virtual environment can't be moved, nor repaired when its making was interrupted.
    if [[ -e $stamp && $(<"$stamp") != *" $PWD" ]] ||
        ! .venv/bin/python -m pip --version &>/dev/null; then
        rm -rf .venv
        "$python" -m venv .venv
    fi
    echo "Installing the locked Python packages into .venv ..." >&2
    # Most of it is never imported, so Python compiles what is when that happens.
    local -a install=(.venv/bin/python -m pip --quiet --disable-pip-version-check install --no-compile)
    # What builds packages comes first, and locked: pip itself would fetch whatever there is.
    "${install[@]}" --require-hashes --only-binary :all: -r requirements-build.lock
    "${install[@]}" --require-hashes --no-build-isolation -r requirements-dev.lock
    "${install[@]}" --no-deps --no-build-isolation -e .
    echo "$wanted" >"$stamp"
}

# A Docker Engine and a registry, as programs: nothing of theirs is started here.
set_up_engine() {
    local -a missing=()
    command -v dockerd >/dev/null || missing+=(docker.io)
    command -v containerd >/dev/null || missing+=(containerd)
    command -v docker-registry >/dev/null || missing+=(docker-registry)
    # For nodes whose clock is off.
    command -v faketime >/dev/null || missing+=(faketime)
    [[ ${#missing[@]} -eq 0 ]] || install_packages "${missing[@]}"
}

# What only the tests need: Podman, whose service answers as an engine does, curl, a browser, and the
# shells that complete what is typed.
set_up_test_parts() {
    local -a missing=()
    command -v podman >/dev/null || missing+=(podman)
    command -v curl >/dev/null || missing+=(curl)
    command -v zsh >/dev/null || missing+=(zsh)
    command -v fish >/dev/null || missing+=(fish)
    command -v chromium google-chrome >/dev/null || missing+=(chromium)
    [[ ${#missing[@]} -eq 0 ]] || install_packages "${missing[@]}"
}
