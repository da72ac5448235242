#!/usr/bin/env bash
# Topic -> queue (with its dead-letter queue), the way a Conformity account is wired to the router.
# LocalStack runs this when mounted under /etc/localstack/init/ready.d; `start.sh` runs it by itself.
# May be run again: every call leaves what is already there as it is.
#
#   PUBLISHER_ACCOUNT   the account allowed to publish to the topic (default: Cloud Conformity's)
#   MAX_RECEIVE_COUNT   receives before a message moves to the dead-letter queue
set -euo pipefail

publisher=${PUBLISHER_ACCOUNT:-717210094962}
max_receives=${MAX_RECEIVE_COUNT:-5}
export AWS_ACCESS_KEY_ID=${AWS_ACCESS_KEY_ID:-test} AWS_SECRET_ACCESS_KEY=${AWS_SECRET_ACCESS_KEY:-test}
export AWS_REGION=${AWS_REGION:-us-east-1}
export AWS_DEFAULT_REGION=$AWS_REGION AWS_PAGER='' AWS_DEFAULT_OUTPUT=text

if command -v awslocal >/dev/null; then
    aws() { awslocal "$@"; }
else
    # Named on each call: version 1 of the CLI overlooks AWS_ENDPOINT_URL for SQS.
    endpoint=${AWS_ENDPOINT_URL:-http://127.0.0.1:4566}
    aws() { command "${AWS_CLI:-aws}" --endpoint-url "$endpoint" "$@"; }
fi

# queue NAME ATTRIBUTES -> prints URL and ARN
queue() {
    local url
    url=$(aws sqs create-queue --queue-name "$1" --attributes "$2" --query QueueUrl)
    printf '%s %s\n' "$url" \
        "$(aws sqs get-queue-attributes --queue-url "$url" --attribute-names QueueArn --query Attributes.QueueArn)"
}

topic=$(aws sns create-topic --name conformity-checks --query TopicArn)
aws sns set-topic-attributes --topic-arn "$topic" --attribute-name Policy --attribute-value '{
    "Version": "2012-10-17",
    "Statement": [{
        "Sid": "ConformityPublishes",
        "Effect": "Allow",
        "Principal": { "AWS": "arn:aws:iam::'"$publisher"':root" },
        "Action": "sns:Publish",
        "Resource": "'"$topic"'"
    }]
}'

# subscribed QUEUE DEAD_LETTER_QUEUE RAW_DELIVERY
subscribed() {
    local dead_arn url arn
    read -r _ dead_arn < <(queue "$2" MessageRetentionPeriod=1209600)
    read -r url arn < <(queue "$1" '{
        "VisibilityTimeout": "120",
        "MessageRetentionPeriod": "345600",
        "RedrivePolicy": "{\"deadLetterTargetArn\":\"'"$dead_arn"'\",\"maxReceiveCount\":\"'"$max_receives"'\"}"
    }')
    aws sqs set-queue-attributes --queue-url "$url" --attributes '{
        "Policy": "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"Service\":\"sns.amazonaws.com\"},\"Action\":\"sqs:SendMessage\",\"Resource\":\"'"$arn"'\",\"Condition\":{\"ArnEquals\":{\"aws:SourceArn\":\"'"$topic"'\"}}}]}"
    }'
    aws sns subscribe --topic-arn "$topic" --protocol sqs --notification-endpoint "$arn" \
        --attributes RawMessageDelivery="$3" --query SubscriptionArn >/dev/null
    echo "queue $1: $url (raw delivery: $3, dead letters: $2)"
}

# The router must read both: SNS wraps a message in an envelope unless raw delivery is switched on.
echo "topic: $topic (publisher: $publisher)"
subscribed conformity-checks conformity-checks-dead false
subscribed conformity-checks-raw conformity-checks-raw-dead true
