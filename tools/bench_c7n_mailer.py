"""Fills a queue with messages as Cloud Custodian sends them, lets c7n-mailer empty it, prints what that took.

Started by bench-c7n-mailer.sh, which installs what this imports. The mailer runs in this process, unchanged but for two
places: `requests.post` sends what is meant for https://hooks.slack.com/ to the local sink, for the mailer refuses any
other webhook; and `ack` notes the time, because the mailer ends each run with an empty 10 s poll that should not count.
"""

import argparse
import base64
import contextlib
import http.server
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.parse
import zlib

REGION, ACCOUNT = "us-east-1", "000000000000"
SLACK = "https://hooks.slack.com/"


class Sink(http.server.BaseHTTPRequestHandler):
    """Accepts everything, as Splunk HEC below /services and as Slack elsewhere."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, so that no delayed acknowledgement counts against the mailer

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        splunk = self.path.startswith("/services")
        body = b'{"text":"Success","code":0}' if splunk else b"ok"
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if splunk else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def sink():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def arguments():
    parser = argparse.ArgumentParser(description="Messages per second that c7n-mailer takes from a queue.")
    parser.add_argument("--endpoint", required=True, help="SQS emulator on loopback, e.g. http://127.0.0.1:4566")
    parser.add_argument("--messages", type=int, default=300)
    parser.add_argument("--targets", default="splunk,slack", help="splunk, slack or both")
    parser.add_argument("--hec-url")
    parser.add_argument("--hec-token", default="simulated")
    parser.add_argument("--slack-url")
    args = parser.parse_args()
    args.targets = sorted(set(args.targets.split(",")))
    if set(args.targets) - {"splunk", "slack"}:
        parser.error("--targets takes splunk and slack")
    for url in filter(None, (args.endpoint, args.hec_url, args.slack_url)):
        if urllib.parse.urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1"):
            parser.error(f"{url} is not on loopback: this is a load test")
    return args


def message(number, to):
    """One finding about one bucket, packed as Custodian's notify action packs it."""
    return base64.b64encode(
        zlib.compress(
            json.dumps(
                {
                    "event": None,
                    "account": "payroll",
                    "account_id": "111122223333",
                    "region": "eu-west-1",
                    "execution_id": f"run-{number}",
                    "policy": {"name": "s3-public-read", "resource": "aws.s3", "actions": []},
                    "action": {
                        "type": "notify",
                        "to": to,
                        "violation_desc": "The bucket can be read by anyone.",
                        "action_desc": "Block public access or remove the grant.",
                    },
                    "resources": [
                        {
                            "Name": f"bucket-{number}",
                            "CreationDate": "2026-01-01T00:00:00+00:00",
                            "Location": {"LocationConstraint": "eu-west-1"},
                            "Tags": [{"Key": "Environment", "Value": "prod"}, {"Key": "Owner", "Value": "payroll"}],
                        }
                    ],
                }
            ).encode()
        )
    ).decode()


def fill(sqs, queue_url, count, to):
    attributes = {"mtype": {"DataType": "String", "StringValue": "maidmsg/1.0"}}
    for first in range(0, count, 10):
        entries = [
            {"Id": str(n), "MessageBody": message(n, to), "MessageAttributes": attributes}
            for n in range(first, min(first + 10, count))
        ]
        failed = sqs.send_message_batch(QueueUrl=queue_url, Entries=entries).get("Failed", [])
        if failed:
            sys.exit(f"the emulator refused messages: {failed}")


def main():
    args = arguments()
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION=REGION)

    import boto3
    import requests
    from c7n_mailer import cli, sqs_queue_processor

    with contextlib.ExitStack() as stack:
        if not (args.hec_url and args.slack_url):
            child = stack.enter_context(
                subprocess.Popen([sys.executable, __file__, "sink"], stdout=subprocess.PIPE, text=True)
            )
            stack.callback(child.terminate)
            base = f"http://127.0.0.1:{int(child.stdout.readline())}"
            args.hec_url = args.hec_url or f"{base}/services/collector/event"
            args.slack_url = args.slack_url or f"{base}/slack"

        sqs = boto3.client("sqs", endpoint_url=args.endpoint)
        queue_url = sqs.create_queue(QueueName=f"c7n-mailer-bench-{os.getpid()}")["QueueUrl"]
        stack.callback(sqs.delete_queue, QueueUrl=queue_url)
        to = [{"splunk": "splunkhec://cloud_sec", "slack": f"{SLACK}services/T0/B0/x"}[t] for t in args.targets]
        filling = time.perf_counter()
        fill(sqs, queue_url, args.messages, to)
        filling = time.perf_counter() - filling

        config = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".yml"))
        json.dump(
            {
                "queue_url": queue_url,
                "endpoint_url": args.endpoint,
                "region": REGION,
                "role": f"arn:aws:iam::{ACCOUNT}:role/mailer",
                "from_address": "mailer@acme.example",
                "splunk_hec_url": args.hec_url,
                "splunk_hec_token": args.hec_token,
            },
            config,
        )
        config.flush()

        delivered = dict.fromkeys(args.targets, 0)
        refused = dict.fromkeys(args.targets, 0)
        acks = []
        post, ack = requests.post, sqs_queue_processor.MailerSqsQueueIterator.ack

        def counted_post(url, *rest, **options):
            target = "slack" if url.startswith(SLACK) else "splunk"
            answer = post(args.slack_url if target == "slack" else url, *rest, **options)
            (delivered if answer.ok else refused)[target] += 1
            return answer

        def timed_ack(self, received):
            ack(self, received)
            acks.append(time.perf_counter())

        requests.post = counted_post
        sqs_queue_processor.MailerSqsQueueIterator.ack = timed_ack
        sys.argv = ["c7n-mailer", "-c", config.name, "--run"]
        before = resource.getrusage(resource.RUSAGE_SELF)
        started = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                cli.main()
            except SystemExit as ended:
                if ended.code:
                    raise
        after = resource.getrusage(resource.RUSAGE_SELF)

    if not acks:
        sys.exit("c7n-mailer acknowledged nothing")
    seconds = acks[-1] - started
    print(
        json.dumps(
            {
                "program": "c7n-mailer",
                "endpoint": args.endpoint,
                "targets": args.targets,
                "messages": args.messages,
                "acknowledged": len(acks),
                "delivered": delivered,
                "refused": refused,
                "seconds": round(seconds, 3),
                "messages_per_second": round(len(acks) / seconds, 1),
                "deliveries_per_second": round(sum(delivered.values()) / seconds, 1),
                "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 3),
                "max_rss_mb": after.ru_maxrss // 1024,
                "filling_seconds": round(filling, 3),
            }
        )
    )


if __name__ == "__main__":
    sink() if sys.argv[1:] == ["sink"] else main()
