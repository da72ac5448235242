#!/usr/bin/env bash
# A Docker engine and a LocalStack image for the container tests, on whatever this machine has:
#
#   eval "$(localstack/docker-image.sh)"     then: cargo test --test it localstack
#   localstack/docker-image.sh stop          ends what this script started; a Docker of yours is left alone
#
# Engine: the one that answers; else, as root with `dockerd` installed, one started by hand.
# Image: localstack/localstack where it is there or can be pulled; else one made here out of debootstrap and the
# same Python packages that start.sh uses (needs root, debootstrap and Python 3.11). The file system it makes is kept
# under ~/.cache/findings-router, so only the first time takes a minute.
#
# On success prints one `export` line and nothing else; otherwise exits 1 with the reason on stderr.
set -euo pipefail

version=4.9.2
upstream=localstack/localstack:$version
ours=findings-router/localstack:$version
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/findings-router
# This script and the package list decide what is in our image.
key=$(cat "${BASH_SOURCE[0]}" "$here/requirements-py311.txt" | sha256sum | cut -c1-12)
say() { echo "$*" >&2; }
die() { say "localstack/docker-image.sh: $*"; exit 1; }
engine_answers() { docker version --format '{{.Server.APIVersion}}' 2>/dev/null; }
have_image() { docker image inspect "$1" >/dev/null 2>&1; }

# ends PID_FILE NAME: only the process we started, not one that got its number later.
ends() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 0
    rm -f "$1"
    grep -qza "$2" "/proc/$pid/cmdline" 2>/dev/null || return 0
    kill "$pid"
    for _ in $(seq 60); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.25; done
    say "$2 ($pid) is still running"
}

stop() {
    ends "$cache/dockerd.pid" dockerd
}

start_engine() {
    engine_answers >/dev/null && return
    command -v docker >/dev/null || die "no docker command"
    [[ -z ${DOCKER_HOST:-} ]] || die "no engine answers at DOCKER_HOST=$DOCKER_HOST"
    [[ $(id -u) == 0 ]] || die "no Docker engine answers, and starting one needs root"
    command -v dockerd >/dev/null || die "no Docker engine answers, and dockerd is not installed"
    # Published ports go to loopback only unless a container asks for more.
    setsid dockerd --ip 127.0.0.1 >"$cache/dockerd.log" 2>&1 </dev/null &
    echo $! >"$cache/dockerd.pid"
    for _ in $(seq 60); do
        if engine_answers >/dev/null; then say "started dockerd (log: $cache/dockerd.log)"; return; fi
        kill -0 "$(cat "$cache/dockerd.pid")" 2>/dev/null || break
        sleep 0.5
    done
    tail -n 5 "$cache/dockerd.log" >&2
    ends "$cache/dockerd.pid" dockerd
    die "dockerd does not start here"
}

make_image() {
    local archive scratch venv
    [[ $(id -u) == 0 ]] || die "$upstream can't be pulled, and making an image needs root"
    archive=$cache/image-$version-$key.tar
    if [[ ! -f $archive ]]; then
        command -v debootstrap >/dev/null || die "$upstream can't be pulled, and debootstrap is not installed"
        venv=$(FINDINGS_ROUTER_PYTHON='python3 python3.11' "$here/start.sh" install)
        [[ $venv == *-py311-* ]] || die "$upstream can't be pulled, and making an image needs Python 3.11"
        scratch=$(mktemp -d)
        # shellcheck disable=SC2064  # expanded now: it is gone from scope later
        trap "rm -rf '$scratch'" EXIT
        say "making $ours: a minimal Debian ..."
        debootstrap --variant=minbase --include=python3,ca-certificates bookworm "$scratch/root" >"$cache/debootstrap.log" 2>&1 ||
            die "debootstrap failed (log: $cache/debootstrap.log)"
        say "... and LocalStack in it"
        cp -a "$venv/lib/python3.11/site-packages" "$scratch/root/opt/localstack"
        rm -rf "$scratch/root/var/cache/apt" "$scratch/root/var/lib/apt/lists" "$scratch/root/usr/share/doc"
        cat >"$scratch/root/usr/local/bin/aws" <<'AWS'
#!/bin/sh
exec python3 -m awscli "$@"
AWS
        cat >"$scratch/root/usr/local/bin/localstack-entry" <<'ENTRY'
#!/bin/sh
# As in start.sh, but on every interface of the container: the published port decides who may come in.
export GATEWAY_SERVER=hypercorn GATEWAY_LISTEN=0.0.0.0:4566 SERVICES="${SERVICES:-sqs,sns}" STRICT_SERVICE_LOADING=1 \
    EAGER_SERVICE_LOADING=1 SQS_ENDPOINT_STRATEGY="${SQS_ENDPOINT_STRATEGY:-dynamic}" PERSISTENCE=0 \
    SKIP_SSL_CERT_DOWNLOAD=1 DNS_ADDRESS=0 DISABLE_EVENTS=1
exec python3 -m localstack.runtime.main
ENTRY
        chmod +x "$scratch/root/usr/local/bin/"{aws,localstack-entry}
        tar -C "$scratch/root" -cf "$archive.part" .
        rm -f "$cache"/image-*.tar    # of an older script or package list
        mv "$archive.part" "$archive"
        rm -rf "$scratch"
    fi
    docker import --change 'ENTRYPOINT ["/usr/local/bin/localstack-entry"]' --change 'EXPOSE 4566' \
        --change 'ENV PYTHONPATH=/opt/localstack PYTHONUNBUFFERED=1' "$archive" "$ours" >/dev/null
    docker tag "$ours" "$ours-$key"
}

choose_image() {
    if have_image "$upstream"; then image=$upstream; return; fi
    if have_image "$ours-$key"; then image=$ours; return; fi
    if timeout 300 docker pull --quiet "$upstream" >/dev/null 2>&1; then image=$upstream; return; fi
    say "$upstream can't be pulled from here"
    make_image
    image=$ours
}

mkdir -p "$cache"
if [[ ${1:-} == stop ]]; then stop; exit; fi
start_engine
choose_image
echo "export FINDINGS_ROUTER_LOCALSTACK_IMAGE=$image"
