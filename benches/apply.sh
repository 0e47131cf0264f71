#!/usr/bin/env bash
# Applies many small migrations with `migrate`, with psql and with other tools, side by side on one private PostgreSQL with
# fsync on, and prints the medians in seconds. See README.md.
set -euo pipefail
cd "$(dirname "$0")/.."

count=${COUNT:-1000} applied=${APPLIED:-5000} rounds=${ROUNDS:-3}
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
mkdir -p "$work"/{ours,dbmate,sqlx,refinery,many}
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
    for n in range(1, count + 1):
        u, d, v = up.format(n=n), down.format(n=n), f"{n:04}"
        (work / "ours" / load / f"V{v}__step.sql").write_text(u)
        (work / "ours" / load / f"V{v}__step.rollback.sql").write_text(d)
        (work / "dbmate" / load / f"{v}_step.sql").write_text(f"-- migrate:up\n{u}\n\n-- migrate:down\n{d}\n")
        (work / "sqlx" / load / f"{v}_step.up.sql").write_text(u)
        (work / "sqlx" / load / f"{v}_step.down.sql").write_text(d)
        (work / "refinery" / load / f"V{v}__step.sql").write_text(u)
        psql.append(f"begin;\n{u}\ninsert into history (version, name, applied_on, checksum) values ({n}, 'step', now(), '{n}');\ncommit;\n")
    (work / f"{load}.sql").write_text("".join(psql))
for n in range(1, applied + 1):
    (work / "many" / f"V{n:04}__step.sql").write_text(f"comment on table base is 'step {n}';")
    (work / "many" / f"V{n:04}__step.rollback.sql").write_text("comment on table base is null;")
(work / "refinery.toml").write_text('[main]\ndb_type = "Postgres"\n')
PY
chmod -R a+rX "$work" 2>/dev/null || true

fresh() { "$psql" -qXd postgres -c 'drop database if exists bench' -c 'create database bench' 2>/dev/null
  "$psql" -qXd bench -c 'create table base ()' -c 'checkpoint'; }
# measure NAME COMMAND...: the seconds that the command takes, and its peak of memory in MiB, to a file for NAME.
measure() { local name=$1; shift
  python3 - "$work/times" "$name" "$@" <<'PY'
import os, sys, time
out, name, *command = sys.argv[1:]
begin = time.monotonic()
pid = os.fork()
if pid == 0:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.execvp(command[0], command)
_, status, usage = os.wait4(pid, 0)
took = time.monotonic() - begin
if status:
    sys.exit(f"{name} failed")
with open(out, "a") as file:
    file.write(f"{name}\t{took}\t{usage.ru_maxrss / 1024}\n")
PY
}
have() { command -v "$1" >/dev/null 2>&1; }
skipped=()
have dbmate || skipped+=(dbmate)
have sqlx || skipped+=(sqlx)
have refinery || skipped+=(refinery)

for _ in $(seq "$rounds"); do
  for load in create comment; do
    fresh
    "$psql" -qXd bench -c 'create table history (version int4 primary key, name varchar(255), applied_on varchar(255), checksum varchar(255))'
    measure "$load: psql" "$psql" -qXd bench -v ON_ERROR_STOP=1 -f "$work/$load.sql"
    fresh; DATABASE_URL=$url measure "$load: migrate" "$migrate" --directory "$work/ours/$load"
    if have dbmate; then fresh; measure "$load: dbmate" dbmate --url "$url?sslmode=disable" --no-dump-schema -d "$work/dbmate/$load" up; fi
    if have sqlx; then fresh; measure "$load: sqlx" sqlx migrate run --source "$work/sqlx/$load" -D "$url"; fi
    if have refinery; then fresh; URL=$url measure "$load: refinery" refinery migrate -e URL -p "$work/refinery/$load"; fi
  done
done

fresh
DATABASE_URL=$url measure "$applied at once: migrate" "$migrate" --directory "$work/many"
for _ in $(seq $((rounds * 5))); do
  measure "select 1: psql" "$psql" -qXd bench -c 'select 1'
  DATABASE_URL=$url measure "nothing to do after $applied: migrate" "$migrate" --directory "$work/many"
  measure "help: migrate" "$migrate" --help
done

python3 - "$work/times" <<'PY'
import collections, statistics, sys
times, memory = collections.defaultdict(list), collections.defaultdict(float)
for line in open(sys.argv[1]):
    name, took, mib = line.rstrip("\n").split("\t")
    times[name].append(float(took))
    memory[name] = max(memory[name], float(mib))
reference = {"create": "create: psql", "comment": "comment: psql", "nothing": "select 1: psql"}
print(f"{'what':<40} {'median s':>9} {'x psql':>7} {'MiB':>6}")
for name, took in times.items():
    base = reference.get(name.split(":")[0].split()[0])
    ratio = f"{statistics.median(took) / statistics.median(times[base]):7.2f}" if base in times else ""
    print(f"{name:<40} {statistics.median(took):9.4f} {ratio:>7} {memory[name]:6.1f}")
PY
[ ${#skipped[@]} = 0 ] || echo "not on this machine, and left out: ${skipped[*]}"
