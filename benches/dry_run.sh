#!/usr/bin/env bash
# How long `migrate --dry-run` of 20 pending migrations takes on a schema of 1,000 tables, beside `pg_dump -s` of that schema and
# the migrations' own time (psql: up, down, up, each in one transaction), on one PostgreSQL with fsync on, and once more on a private
# server, where a user who may not make databases has it. Medians of RUNS runs, in turns, and the peak of memory of the program itself.
#
#   MIGRATE=target/release/migrate RUNS=5 benches/dry_run.sh
#
# MIGRATE is built if it is left out. PG_BIN names the directory of PostgreSQL's programs.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${MIGRATE:-}" ]; then
    cargo build --quiet --release -p liftlock-migrate
    MIGRATE=target/release/migrate
fi
migrate=$(realpath "$MIGRATE")
# Debian's pg_dump and psql are wrappers in Perl, which would make them look slow.
bin=${PG_BIN:-$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)}
bin=${bin:-$(pg_config --bindir)}
work=$(mktemp -d)
files=$work/migrations
mkdir "$files"

# PostgreSQL does not run as root.
as=()
if [ "$(id -u)" = 0 ]; then
    as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    chown postgres "$work"
    chmod 755 "$work"
fi
finish() {
    "${as[@]}" "$bin/pg_ctl" -D "$work/data" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cd /
"${as[@]}" "$bin/initdb" -D "$work/data" -A trust -U postgres >/dev/null
"${as[@]}" "$bin/pg_ctl" -D "$work/data" -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=on" \
    -l "$work/log" -w start >/dev/null
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=postgres
export DATABASE_URL=postgres://postgres@127.0.0.1:$port/bench
export PG_BIN=$bin
psql=("$bin/psql" --no-psqlrc --quiet --set=ON_ERROR_STOP=1)

# tables COUNT: the SQL of so many tables, each with an identity, a default, a check, a foreign key and two indexes.
tables() {
    local i
    for ((i = 1; i <= $1; i++)); do
        cat <<SQL
create table t$i (id bigint generated always as identity primary key, name text not null default '', made timestamptz not null
    default now(), amount numeric(12, 2) check (amount >= 0), other bigint references t$((i > 1 ? i - 1 : 1)) (id));
create index on t$i (name);
SQL
    done
}

# measure NAME STATUS COMMAND...: the seconds that the command takes and its own peak of memory, kept for `report`. STATUS is how it ends.
measure() {
    python3 - "$work/times" "$@" <<'PY'
import os, sys, time
out, name, expected, *command = sys.argv[1:]
begin = time.monotonic()
pid = os.fork()
if pid == 0:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.execvp(command[0], command)
_, status, usage = os.wait4(pid, 0)
took = time.monotonic() - begin
if os.waitstatus_to_exitcode(status) != int(expected):
    sys.exit(f"{name} ended with {os.waitstatus_to_exitcode(status)}")
with open(out, "a") as file:
    file.write(f"{name}\t{took}\t{usage.ru_maxrss / 1024}\n")
PY
}

# report NAME: the medians, beside that of NAME.
report() {
    python3 - "$work/times" "$1" <<'PY'
import collections, statistics, sys
times, memory = collections.defaultdict(list), collections.defaultdict(float)
for line in open(sys.argv[1]):
    name, took, mib = line.rstrip("\n").split("\t")
    times[name].append(float(took))
    memory[name] = max(memory[name], float(mib))
base = statistics.median(times[sys.argv[2]])
print(f"{'what':<34} {'median s':>9} {'x ' + sys.argv[2]:>13} {'MiB':>6}")
for name, took in times.items():
    print(f"{name:<34} {statistics.median(took):9.3f} {statistics.median(took) / base:13.2f} {memory[name]:6.1f}")
PY
}

runs=${RUNS:-5} count=${TABLES:-1000} pending=${PENDING:-20}
"${psql[@]}" -d postgres -c 'create role keeper login' -c 'create database bench owner keeper'
tables "$count" | "${psql[@]}" -d bench -U keeper
"${psql[@]}" -d bench -c 'vacuum analyze'
keeper=postgres://keeper@127.0.0.1:$port/bench

for ((i = 1; i <= pending; i++)); do
    name=$(printf 'V%04d__m%d' "$i" "$i")
    printf 'alter table t%d add column note text;\ncreate index on t%d (made);\ncreate table n%d (id int primary key);\n' $i $i $i >"$files/$name.sql"
    printf 'drop table n%d;\ndrop index t%d_made_idx;\nalter table t%d drop column note;\n' $i $i $i >"$files/$name.rollback.sql"
done
script=()
for file in "$files"/V*__m*.rollback.sql; do
    up=${file%.rollback.sql}.sql
    script+=(-c begin -f "$up" -c commit -c begin -f "$file" -c commit -c begin -f "$up" -c commit)
done
"$bin/createdb" -T bench own

for ((run = 0; run < runs; run++)); do
    # `drop database` waits for a checkpoint of the whole server: what this script wrote before is not the dry-run's.
    "${psql[@]}" -d postgres -c checkpoint
    measure "pg_dump -s" 0 "$bin/pg_dump" --schema-only bench
    "${psql[@]}" -d postgres -c 'drop database own' -c 'create database own template bench' -c checkpoint
    measure "the migrations (up, down, up)" 0 "${psql[@]}" -d own "${script[@]}"
    "${psql[@]}" -d postgres -c checkpoint
    measure "migrate --dry-run" 0 "$migrate" --dry-run --directory "$files"
    DATABASE_URL=$keeper measure "migrate --dry-run, private" 0 "$migrate" --dry-run --directory "$files"
done
report "pg_dump -s"
