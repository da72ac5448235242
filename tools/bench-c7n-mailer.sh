#!/usr/bin/env bash
# How fast does c7n-mailer, the nearest relative of this service, empty a queue? A figure to compare ours with, taken
# on the same machine against the same stand-ins.
#
#   tools/bench-c7n-mailer.sh --endpoint http://127.0.0.1:4566 [--messages 300] [--targets splunk,slack]
#                             [--hec-url URL] [--slack-url URL]
#
# --endpoint   any SQS emulator on loopback: LocalStack (localstack/start.sh), ministack, our own simulator
# --hec-url    the HEC event endpoint, e.g. http://127.0.0.1:8088/services/collector/event
# --slack-url  what stands in for https://hooks.slack.com/...
#              A URL left out is served by a small sink that the benchmark starts and that accepts everything.
#
# Prints one JSON object. The packages go to ~/.cache/findings-router (about 120 MB, the first time only).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mailer=0.6.52
custodian=0.9.53    # the mailer imports it and does not say so
venv=${XDG_CACHE_HOME:-$HOME/.cache}/findings-router/c7n-mailer-$mailer-$custodian
if [[ ! -e $venv/installed ]]; then
    echo "installing c7n-mailer $mailer into $venv" >&2
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    "${FINDINGS_ROUTER_PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "c7n-mailer==$mailer" "c7n==$custodian" >&2
    touch "$venv/installed"
fi
exec "$venv/bin/python" "$here/bench_c7n_mailer.py" "$@"
