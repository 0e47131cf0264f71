"""CloudWatch's alarms over Smithy RPC v2 CBOR, the protocol that the Rust SDK speaks; moto knows CloudWatch's older ones only."""

import re

import cbor2
from moto.cloudwatch.models import cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID

PATH = "/service/GraniteServiceVersion20100801/operation/DescribeAlarms"
# Credential=KEY/DATE/REGION/SERVICE/aws4_request
SCOPE = re.compile(r"Credential=[^/]+/[^/]+/([^/]+)/")


def answer(environ, start_response):
    """Describe the alarms that the request asks for, from moto's own."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    asked = cbor2.loads(environ["wsgi.input"].read(length)) if length else {}
    region = SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    backend = cloudwatch_backends[DEFAULT_ACCOUNT_ID][region.group(1) if region else "us-east-1"]
    names = asked.get("AlarmNames")
    found = [
        described(alarm)
        for name, alarm in sorted(backend.alarms.items())
        if name.startswith(asked.get("AlarmNamePrefix", ""))
        and (names is None or name in names)
        and alarm.state_value == asked.get("StateValue", alarm.state_value)
    ]
    body = cbor2.dumps({"MetricAlarms": found, "CompositeAlarms": []})
    headers = [
        ("Content-Type", "application/cbor"),
        ("smithy-protocol", "rpc-v2-cbor"),
        ("Content-Length", str(len(body))),
    ]
    start_response("200 OK", headers)
    return [body]


def described(alarm):
    """What the SDK reads of an alarm."""
    return {
        "AlarmName": alarm.name,
        "AlarmArn": alarm.alarm_arn,
        "StateValue": alarm.state_value,
        "StateReason": alarm.state_reason or "",
    }
