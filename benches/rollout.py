"""What `rollout.sh` measures; see there."""

import collections
import csv
import datetime
import io
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time

WORK = pathlib.Path(sys.argv[1])
LIFTLOCK = os.environ["LIFTLOCK"]
NUMBERS = (("RATE", 1000), ("ROUNDS", 20), ("BROKEN", 5), ("THROTTLED", 1))
RATE, ROUNDS, BROKEN, THROTTLED = (int(os.environ.get(name, number)) for name, number in NUMBERS)
SERVICES = ("backend", "frontend", "admin")
# A third service, which the example application does not have: its frontend once more, at paths that nobody asks for.
ADMIN = """repository = "registry.example/shop/admin"
port = 8080
paths = ["/admin/*"]
order = 3
cpu = 256
memory = 512
health_path = "/health"
"""
WORKERS = 20
STEPS, BAKE, INTERVAL = 3, 2, 0.4


def environment():
    text = f"""[aws]
account = "000000000000"
[infrastructure]
engine = "stage"
[database]
url = {{ from = "stage" }}
[database.snapshot]
timeout = "1m"
keep_days = 1
"""
    for service in SERVICES:
        text += f"""
[services.{service}]
tasks = 2
{ADMIN if service == "admin" else ""}
[services.{service}.rollout]
steps = [10, 50, 100]
step_bake = "{BAKE}s"
bake = "{BAKE}s"
start_timeout = "60s"
poll = "100ms"
[services.{service}.rollout.breaker]
interval = "{INTERVAL * 1000:.0f}ms"
error_rate_for = "{INTERVAL * 1000:.0f}ms"
[services.{service}.stage]
command = ["bin/{'admin' if service == 'admin' else 'shop'}"]
versions = "examples/shop/versions"
"""
    (WORK / "environments/local.toml").write_text(text)


def version(name, migrations, fault=""):
    # The fault is the last service's whose requests are counted.
    services = "".join(f'[{service}]\nBUILD = "{name}"\n{fault if service == "frontend" else ""}\n' for service in SERVICES)
    text = f'migrations = "{migrations}"\n{services}'
    (WORK / f"examples/shop/versions/{name}.toml").write_text(text)


def run(*arguments, exits=(0,)):
    done = subprocess.run([LIFTLOCK, "--root", WORK, *arguments], capture_output=True, text=True)
    if done.returncode not in exits:
        sys.exit(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def stage():
    return json.loads(run("stage", "status", "--output", "json").splitlines()[-1])


def promote(name, exits=(0,)):
    """How long it took, and which calls it made."""
    before, began = collections.Counter(stage()["calls"]), time.monotonic()
    run("promote", "--env", "local", "--release", name, exits=exits)
    took = time.monotonic() - began
    return took, collections.Counter(stage()["calls"]) - before


def overhead():
    """What the newest promotion took besides bakes, the start and end of tasks, and the database, in seconds: by its journal."""
    run_id = json.loads(run("history", "--env", "local", "--limit", "1", "--output", "json"))["run"]
    entries = [json.loads(line) for line in run("history", "--run", run_id, "--output", "json").splitlines()]
    at = lambda entry: datetime.datetime.fromisoformat(entry["at"]).timestamp()
    waits, begun = 0.0, {}
    for entry in entries:
        record = entry["event"]["data"].get("record") if entry["event"]["kind"] == "journal" else None
        step = record and record.get("step", "")
        if step and (step.startswith("database/") or step.endswith(("/bake", "/raise", "/lower"))):
            if record["record"] == "intended":
                begun[step] = at(entry)
            elif record["record"] == "done":
                waits += at(entry) - begun[step]
    return at(entries[-1]) - at(entries[0]) - waits


class Load:
    """Requests, `RATE` of them a second, over connections that are kept."""

    def __init__(self, url, *options):
        rate = ["-z", "1h", "-c", str(WORKERS), "-q", str(RATE // WORKERS), "-t", "10"]
        self.hey = subprocess.Popen(["hey", *rate, *options, url], stdout=subprocess.PIPE, text=True)

    def end(self):
        self.hey.send_signal(signal.SIGINT)
        return self.hey.communicate()[0]


def main():
    (WORK / "bin/admin").write_text(f'#!/bin/sh\nSERVICE=frontend exec "{WORK}/bin/shop" "$@"\n')
    (WORK / "bin/admin").chmod(0o755)
    environment()
    newest = sorted((WORK / "migrations").glob("V*.sql"))[-1].name[:5]
    for number in range(ROUNDS + 1):
        version(f"2.0.{number}", newest)
    for number in range(BROKEN):
        version(f"3.0.{number}", newest, 'FAULT = "wears-out"')
    run("promote", "--env", "local", "--release", "2.0.0")
    url = stage()["url"]

    load, times, calls, own = Load(url), [], [], []
    for number in range(1, ROUNDS + 1):
        took, made = promote(f"2.0.{number}")
        times.append(took)
        calls.append(made)
        own.append(overhead())
    report = load.end()
    answers = dict(re.findall(r"\[(\d{3})\]\s+(\d+) responses", report))
    dropped = re.findall(r"^\s+\[(\d+)\]\s+(.*)$", report.partition("Error distribution:")[2], re.M)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    print(f"{ROUNDS} healthy rollouts of {len(SERVICES)} services, 10 -> 50 -> 100 %, under {rate and rate[1]} requests a second")
    print(f"  answers by status     {answers}")
    print(f"  no answer             {dropped or 'none'}")
    print(f"  wall time             {statistics.median(times):.1f} s (median); {STEPS * BAKE} s of that are bakes")
    print(f"  of Liftlock's own     {statistics.median(own):.1f} s (median): without bakes, tasks' starts and ends, and the database")
    print(f"  API calls             {statistics.median(sum(one.values()) for one in calls):.0f} (median)")
    for name, count in sum(calls, collections.Counter()).most_common(12):
        print(f"    {count / ROUNDS:6.1f} {name}")

    if THROTTLED:
        version("2.1.0", newest)
        run("stage", "fault", "add", "throttle", "per_second=1")
        took, made = promote("2.1.0")
        run("stage", "fault", "clear")
        print(f"AWS lets one call a second through: a healthy rollout takes {took:.0f} s and {sum(made.values())} calls, refused ones too")

    hurt, spans = [], []
    for number in range(BROKEN):
        load = Load(url, "-o", "csv")
        time.sleep(1)
        promote(f"3.0.{number}", exits=(1,))
        rows = list(csv.DictReader(io.StringIO(load.end())))
        bad = sorted(float(row["offset"]) for row in rows if row["status-code"] != "200")
        hurt.append(len(bad))
        spans.append(bad[-1] - bad[0] if bad else 0.0)
    if BROKEN:
        print(f"{BROKEN} rollouts of a version that fails each request after its first ones; the circuit breaker looks each {INTERVAL} s")
        print(f"  bad answers           {statistics.median(hurt):.0f} (median), {max(hurt)} at most")
        print(f"  first to last         {statistics.median(spans):.2f} s (median), {max(spans):.2f} s at most")


main()
