"""What `stage.sh` measures; see there."""

import hashlib
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import time
import urllib.request

import boto3

STAGE, ECHO, WORK = (os.path.abspath(os.environ[name]) for name in ("STAGE", "ECHO", "WORK"))
SERVICES, TASKS = 50, 4


def start(directory):
    """A stage, and how many seconds it took until it answered."""
    began = time.monotonic()
    stage = subprocess.Popen([STAGE, "--directory", directory], stderr=subprocess.DEVNULL)
    record = pathlib.Path(directory, "running.json")
    while True:
        try:
            found = json.loads(record.read_text())
            own_call(directory, found, "status")
            return stage, found, time.monotonic() - began
        except (OSError, ValueError):
            time.sleep(0.002)


def own_call(directory, record, path, body=None):
    keys = json.loads(pathlib.Path(directory, "keys.json").read_text())
    request = urllib.request.Request(record["endpoint"] + "_stage/" + path, method="PUT" if body else "GET")
    request.add_header("x-liftlock-stage-token", keys["token"])
    with urllib.request.urlopen(request, json.dumps(body).encode() if body else None) as answer:
        return json.load(answer)


def image(directory):
    """Puts the echo server into the image store, as `build_image` does."""
    program = hashlib.sha256(pathlib.Path(ECHO).read_bytes()).hexdigest()
    for name in ("blobs", "images"):
        os.makedirs(os.path.join(directory, name), exist_ok=True)
    shutil.copy(ECHO, os.path.join(directory, "blobs", program))
    text = json.dumps({"arguments": [], "environment": {}, "program": program}, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    pathlib.Path(directory, "images", f"sha256-{digest}.json").write_text(text)
    return f"sha256:{digest}"


def topology():
    def service(number):
        return {
            "name": f"s{number}", "repository": "bench/echo", "port": 8080, "paths": [f"/s{number}/*"], "priority": number + 1,
            "tasks": TASKS, "health_path": "/health", "cpu": 256, "memory": 512,
        }

    return {
        "application": "bench", "environment": "stage", "region": "eu-central-1", "account": "000000000000",
        "services": [service(number) for number in range(SERVICES)], "database": None,
    }


def healthy(directory, record):
    status = own_call(directory, record, "status")
    return sum(colour["healthy"] for service in status["services"] for colour in service["colours"])


def processor_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    line = next(l for l in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if l.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


def main():
    times = []
    for turn in range(5):
        directory = os.path.join(WORK, f"empty-{turn}")
        os.mkdir(directory)
        stage, _, seconds = start(directory)
        times.append(seconds)
        stage.terminate()
        stage.wait()
    print(f"start until the first answer: {statistics.median(times):.3f} s (median of 5)")

    directory = os.path.join(WORK, "full")
    os.mkdir(directory)
    stage, record, _ = start(directory)
    try:
        digest = image(directory)
        own_call(directory, record, "topology", topology())
        keys = json.loads(pathlib.Path(directory, "keys.json").read_text())
        ecs = boto3.client(
            "ecs", endpoint_url=record["endpoint"], region_name="eu-central-1",
            aws_access_key_id=keys["access_key"], aws_secret_access_key=keys["secret_key"],
        )
        began = time.monotonic()
        for number in range(SERVICES):
            name = f"bench-stage-s{number}"
            made = ecs.register_task_definition(
                family=name, containerDefinitions=[{"name": f"s{number}", "image": f"bench/echo@{digest}"}],
            )
            ecs.update_service(
                cluster="bench-stage", service=f"{name}-blue", desiredCount=TASKS,
                taskDefinition=made["taskDefinition"]["taskDefinitionArn"],
            )
        asked = time.monotonic()
        while healthy(directory, record) < SERVICES * TASKS:
            time.sleep(0.05)
        up = time.monotonic()
        print(f"{SERVICES} services of {TASKS} tasks: asked for in {asked - began:.1f} s, all healthy {up - asked:.1f} s later")
        before = processor_seconds(stage.pid)
        time.sleep(10)
        share = (processor_seconds(stage.pid) - before) / 10
        print(f"at rest: {share * 100:.0f} % of a core for the stage, {resident(stage.pid)} MiB resident")
        print(f"1-minute load: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    finally:
        stage.terminate()
        stage.wait()
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"processor time of everything: {spent.ru_utime + spent.ru_stime:.0f} s")


main()
