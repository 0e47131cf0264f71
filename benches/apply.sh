#!/usr/bin/env bash
# Applies many small migrations with `migrate`, with psql and with other tools, side by side on one private PostgreSQL with
# fsync on; then with nothing to do, with a file of 50 MB, and `--help`. Prints medians of wall time, of the processor time of
# the client and of the server, and the client's peak of memory. See README.md.
#
#   COUNT=1000 APPLIED=5000 ROUNDS=3 MIGRATE=target/release/migrate PARTS="apply nothing large" benches/apply.sh
#
# dbmate, sqlx, refinery and sqitch take part if they are found in PATH; SLOW_ROUNDS says how often sqitch does.
set -euo pipefail
cd "$(dirname "$0")/.."

count=${COUNT:-1000} applied=${APPLIED:-5000} rounds=${ROUNDS:-3} slow_rounds=${SLOW_ROUNDS:-1} parts=${PARTS:-apply nothing large}
migrate=${MIGRATE:-target/release/migrate}
[ -x "$migrate" ] || { echo "build it first: cargo build --release -p liftlock-migrate" >&2; exit 2; }
migrate=$(realpath "$migrate")
# Debian's psql is a wrapper in Perl, which would make psql look slow.
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
bin=${PGBIN:-${bin:-$(dirname "$(command -v initdb)")}}
psql=$bin/psql

work=$(mktemp -d)
run_as=()
[ "$(id -u)" = 0 ] && { chown postgres "$work"; run_as=(setpriv --reuid postgres --regid postgres --clear-groups); }
stop() { "${run_as[@]}" "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"; }
trap stop EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${run_as[@]}" "$bin/initdb" -D "$work/data" -U postgres -A trust >/dev/null
"${run_as[@]}" "$bin/pg_ctl" -D "$work/data" -w -l "$work/log" \
  -o "-p $port -k '' -c listen_addresses=127.0.0.1 -c fsync=on" start >/dev/null
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=postgres
url=postgres://postgres@127.0.0.1:$port/bench

# Files for each tool: what it runs is the same.
mkdir -p "$work"/{ours,dbmate,sqlx,refinery,sqitch,many,large}
python3 - "$work" "$count" "$applied" <<'PY'
import pathlib, sys
work, count, applied = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for load, up, down in (
    ("create", "create table t{n} (id int);", "drop table t{n};"),
    ("comment", "comment on table base is 'step {n}';", "comment on table base is null;"),
):
    psql = []
    for tool in ("ours", "dbmate", "sqlx", "refinery"):
        (work / tool / load).mkdir(parents=True)
    (work / "sqitch" / load / "deploy").mkdir(parents=True)
    (work / "sqitch" / load / "revert").mkdir()
    plan = [f"%syntax-version=1.0.0\n%project={load}\n"]
    for n in range(1, count + 1):
        u, d, v = up.format(n=n), down.format(n=n), f"{n:04}"
        (work / "ours" / load / f"V{v}__step.sql").write_text(u)
        (work / "ours" / load / f"V{v}__step.rollback.sql").write_text(d)
        (work / "dbmate" / load / f"{v}_step.sql").write_text(f"-- migrate:up\n{u}\n\n-- migrate:down\n{d}\n")
        (work / "sqlx" / load / f"{v}_step.up.sql").write_text(u)
        (work / "sqlx" / load / f"{v}_step.down.sql").write_text(d)
        (work / "refinery" / load / f"V{v}__step.sql").write_text(u)
        (work / "sqitch" / load / "deploy" / f"s{v}.sql").write_text(f"begin;\n{u}\ncommit;\n")
        (work / "sqitch" / load / "revert" / f"s{v}.sql").write_text(f"begin;\n{d}\ncommit;\n")
        plan.append(f"s{v} 2026-01-01T00:00:00Z bench <bench@example.com> # step")
        psql.append(f"begin;\n{u}\ninsert into history (version, name, applied_on, checksum) values ({n}, 'step', now(), '{n}');\ncommit;\n")
    (work / f"{load}.sql").write_text("".join(psql))
    (work / "sqitch" / load / "sqitch.plan").write_text("\n".join(plan) + "\n")
    user = "[user]\n\tname = bench\n\temail = bench@example.com\n"
    (work / "sqitch" / load / "sqitch.conf").write_text("[core]\n\tengine = pg\n" + user)
for n in range(1, applied + 1):
    (work / "many" / f"V{n:04}__step.sql").write_text(f"comment on table base is 'step {n}';")
    (work / "many" / f"V{n:04}__step.rollback.sql").write_text("comment on table base is null;")
row = "insert into large values (1, 'a row of a migration that brings its data with it, as some do');\n"
script = "create table large (id int, text text);\n" + row * (50_000_000 // len(row))
(work / "large" / "V0001__large.sql").write_text(script)
(work / "large" / "V0001__large.rollback.sql").write_text("drop table large;")
PY
chmod -R a+rX "$work" 2>/dev/null || true

fresh() { "$psql" -qXd postgres -c 'drop database if exists bench' -c 'create database bench' 2>/dev/null
  "$psql" -qXd bench -c 'create table base ()' -c 'checkpoint'; }
# measure NAME COMMAND...: its wall time, its processor time and the server's, and its peak of memory in MiB, to a line for NAME.
measure() { local name=$1; shift
  python3 - "$work" "$name" "$@" <<'PY'
import os, sys, time
work, name, *command = sys.argv[1:]
server = open(f"{work}/data/postmaster.pid").readline().strip()
def of_server():
    # A session's processor time is the server's once the session has ended.
    time.sleep(0.05)
    fields = open(f"/proc/{server}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
before, begin = of_server(), time.monotonic()
pid = os.fork()
if pid == 0:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.execvp(command[0], command)
_, status, usage = os.wait4(pid, 0)
took = time.monotonic() - begin
if status:
    sys.exit(f"{name} failed")
client = usage.ru_utime + usage.ru_stime
with open(f"{work}/times", "a") as file:
    file.write(f"{name}\t{took}\t{client}\t{of_server() - before}\t{usage.ru_maxrss / 1024}\n")
PY
}
have() { command -v "$1" >/dev/null 2>&1; }
tools=()
skipped=()
for tool in dbmate sqlx refinery sqitch; do
  if have "$tool"; then tools+=("$tool"); else skipped+=("$tool"); fi
done
apply() { local tool=$1 load=$2
  fresh
  case $tool in
  psql)
    "$psql" -qXd bench -c 'create table history (version int4 primary key, name varchar(255), applied_on varchar(255), checksum varchar(255))'
    measure "$load: psql" "$psql" -qXd bench -v ON_ERROR_STOP=1 -f "$work/$load.sql" ;;
  migrate) DATABASE_URL=$url measure "$load: migrate" "$migrate" --directory "$work/ours/$load" 2>/dev/null ;;
  dbmate) measure "$load: dbmate" dbmate --url "$url?sslmode=disable" --no-dump-schema -d "$work/dbmate/$load" up ;;
  sqlx) measure "$load: sqlx" sqlx migrate run --source "$work/sqlx/$load" -D "$url" ;;
  refinery) URL=$url measure "$load: refinery" refinery migrate -e URL -p "$work/refinery/$load" ;;
  sqitch)
    (cd "$work/sqitch/$load" && measure "$load: sqitch" sqitch deploy --no-verify --db-client "$psql" "db:pg://postgres@127.0.0.1:$port/bench") ;;
  esac
}

echo "load of this machine at the beginning: $(cut -d' ' -f1-3 /proc/loadavg), $(nproc) processors" >&2
if [[ $parts == *apply* ]]; then
  for round in $(seq "$rounds"); do
    for load in create comment; do
      for tool in psql migrate "${tools[@]}"; do
        [ "$tool" = sqitch ] && [ "$round" -gt "$slow_rounds" ] && continue
        apply "$tool" "$load"
      done
    done
  done
fi
if [[ $parts == *nothing* ]]; then
  fresh
  DATABASE_URL=$url measure "$applied at once: migrate" "$migrate" --directory "$work/many" 2>/dev/null
  "$psql" -qXd bench -c 'vacuum analyze' -c checkpoint
  for _ in $(seq $((rounds * 7))); do
    measure "select 1: psql" "$psql" -qXd bench -c 'select 1'
    DATABASE_URL=$url measure "nothing to do after $applied: migrate" "$migrate" --directory "$work/many"
    measure "help: migrate" "$migrate" --help
  done
fi
if [[ $parts == *large* ]]; then
  fresh
  DATABASE_URL=$url measure "50 MB in one file: migrate" "$migrate" --statement-timeout 1h --directory "$work/large" 2>/dev/null
  DATABASE_URL=$url measure "nothing to do after that: migrate" "$migrate" --directory "$work/large"
fi

python3 - "$work/times" <<'PY'
import collections, statistics, sys
times, memory = collections.defaultdict(list), collections.defaultdict(float)
for line in open(sys.argv[1]):
    name, *numbers, mib = line.rstrip("\n").split("\t")
    times[name].append([float(number) for number in numbers])
    memory[name] = max(memory[name], float(mib))
reference = {"create": "create: psql", "comment": "comment: psql", "nothing": "select 1: psql"}
medians = {name: [statistics.median(column) for column in zip(*took)] for name, took in times.items()}
print(f"{'what':<40} {'runs':>4} {'wall s':>9} {'x psql':>7} {'client s':>9} {'server s':>9} {'x psql':>7} {'MiB':>6}")
for name, (wall, client, server) in medians.items():
    base = medians.get(reference.get(name.split(":")[0].split()[0]))
    times_wall = f"{wall / base[0]:7.2f}" if base else ""
    times_cpu = f"{(client + server) / (base[1] + base[2]):7.2f}" if base else ""
    print(f"{name:<40} {len(times[name]):>4} {wall:9.4f} {times_wall:>7} {client:9.4f} {server:9.4f} {times_cpu:>7} {memory[name]:6.1f}")
PY
[ ${#skipped[@]} = 0 ] || echo "not on this machine, and left out: ${skipped[*]}"
echo "load at the end: $(cut -d' ' -f1-3 /proc/loadavg)"
