#!/usr/bin/env bash
# LocalStack (SQS and SNS) as a plain process on loopback: no Docker, no account, no token.
#
#   localstack/start.sh [PORT]        install if needed, start, wait, print the endpoint (default port 4566)
#   localstack/start.sh queues [PORT] topic, queues, subscriptions (init/queues.sh)
#   localstack/start.sh stop [PORT]
#   localstack/start.sh install       only the virtual environment; prints its path
#
# Everything but the result goes to stderr, so that this works:
#   export AWS_ENDPOINT_URL=$(localstack/start.sh)
#
#   FINDINGS_ROUTER_PYTHON   the interpreter to use instead of the first of python3.13, python3 (3.11)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/findings-router
say() { echo "$*" >&2; }
die() { say "localstack/start.sh: $*"; exit 1; }

version_of() { "$1" -c 'import sys; print("py%d%d" % sys.version_info[:2])' 2>/dev/null; }

# Sets `python` and `line` (py313 or py311): the frozen package sets there are.
choose_python() {
    local candidate
    for candidate in ${FINDINGS_ROUTER_PYTHON:-python3.13 python3 python3.11}; do
        line=$(version_of "$candidate") || continue    # a version manager's shim is there and doesn't run
        [[ -f $here/requirements-$line.txt ]] && { python=$candidate; return; }
    done
    die "needs Python 3.13 or 3.11 with the venv module (FINDINGS_ROUTER_PYTHON names one)"
}

# Prints the virtual environment's folder. Its name holds the hash of the package list,
# so a changed list makes a new one and a half-finished one is never used.
install() {
    choose_python
    local venv
    venv=$cache/localstack-$line-$(sha256sum "$here/requirements-$line.txt" | cut -c1-12)
    # The second question: a restored cache may outlive the interpreter it points to.
    if [[ ! -e $venv/installed ]] || ! version_of "$venv/bin/python" >/dev/null; then
        say "installing LocalStack for $("$python" --version) into $venv"
        rm -rf "$venv"
        mkdir -p "$cache"
        "$python" -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
            --requirement "$here/requirements-$line.txt" >&2
        touch "$venv/installed"
    fi
    echo "$venv"
}

healthy() { curl --silent --fail --max-time 2 --output /dev/null "http://127.0.0.1:$1/_localstack/health"; }

start() {
    local port=$1 run=$cache/run-$1 venv pid
    if healthy "$port"; then
        say "port $port: LocalStack answers already"
        echo "http://127.0.0.1:$port"
        return
    fi
    venv=$(install)
    mkdir -p "$run"
    # hypercorn: the default gateway ignores the address in GATEWAY_LISTEN and binds every interface.
    # The last four keep it from looking outside: certificate download, DNS probe, analytics.
    env -u AWS_ENDPOINT_URL \
        GATEWAY_SERVER=hypercorn GATEWAY_LISTEN="127.0.0.1:$port" LOCALSTACK_HOST="127.0.0.1:$port" \
        SQS_ENDPOINT_STRATEGY=path SERVICES=sqs,sns STRICT_SERVICE_LOADING=1 EAGER_SERVICE_LOADING=1 PERSISTENCE=0 \
        SKIP_SSL_CERT_DOWNLOAD=1 DNS_ADDRESS=0 DISABLE_EVENTS=1 HOME="$run" \
        setsid "$venv/bin/python" -m localstack.runtime.main >"$run/log" 2>&1 </dev/null &
    pid=$!
    echo "$pid" >"$run/pid"
    for _ in $(seq 120); do
        if healthy "$port"; then
            say "LocalStack is ready on port $port (log: $run/log)"
            echo "http://127.0.0.1:$port"
            return
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.5
    done
    tail -n 30 "$run/log" >&2
    kill "$pid" 2>/dev/null || true
    die "LocalStack did not become ready on port $port"
}

stop() {
    local run=$cache/run-$1 pid
    pid=$(cat "$run/pid" 2>/dev/null) || { say "port $1: nothing to stop"; return; }
    rm -f "$run/pid"
    # The number may belong to someone else by now.
    grep -qz localstack.runtime.main "/proc/$pid/cmdline" 2>/dev/null || { say "port $1: not running"; return; }
    kill "$pid"
    for _ in $(seq 40); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.25; done
    kill -KILL "$pid" 2>/dev/null || true
}

case ${1:-} in
    install) install ;;
    stop) stop "${2:-4566}" ;;
    queues)
        AWS_CLI=$(install)/bin/aws AWS_ENDPOINT_URL=http://127.0.0.1:${2:-4566} "$here/init/queues.sh"
        ;;
    '' | [0-9]*) start "${1:-4566}" ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
