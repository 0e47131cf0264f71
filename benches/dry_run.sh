#!/usr/bin/env bash
# How long `migrate --dry-run` of 20 pending migrations takes on a schema of 1,000 tables, beside `pg_dump -s` of that schema and
# the migrations' own time (psql: up, down, up, each in one transaction), on one PostgreSQL with fsync on. Medians of RUNS runs.
#
#   MIGRATE=target/release/migrate RUNS=5 benches/dry_run.sh
#
# MIGRATE is built if it is left out. PG_BIN names the directory of PostgreSQL's programs.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${RUNS:-5}
tables=${TABLES:-1000}
pending=${PENDING:-20}
if [ -z "${MIGRATE:-}" ]; then
    cargo build --quiet --release -p liftlock-migrate
    MIGRATE=target/release/migrate
fi
migrate=$(realpath "$MIGRATE")
bin=${PG_BIN:-$(pg_config --bindir)}
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
cd /
finish() {
    "${as[@]}" "$bin/pg_ctl" -D "$work/data" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as[@]}" "$bin/initdb" -D "$work/data" -A trust -U postgres >/dev/null
"${as[@]}" "$bin/pg_ctl" -D "$work/data" -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=''" -l "$work/log" -w start >/dev/null
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=postgres
export DATABASE_URL=postgres://postgres@127.0.0.1:$port/bench
export PG_BIN=$bin
psql=("$bin/psql" --no-psqlrc --quiet --set=ON_ERROR_STOP=1)

"${psql[@]}" -d postgres -c 'create database bench'
for ((i = 1; i <= tables; i++)); do
    cat <<SQL
create table t$i (id bigint generated always as identity primary key, name text not null default '', made timestamptz not null
    default now(), amount numeric(12, 2) check (amount >= 0), other bigint references t$((i > 1 ? i - 1 : 1)) (id));
create index on t$i (name);
SQL
done >"$work/schema.sql"
"${psql[@]}" -d bench -1 -f "$work/schema.sql"

for ((i = 1; i <= pending; i++)); do
    name=$(printf 'V%04d__m%d' "$i" "$i")
    printf 'alter table t%d add column note text;\ncreate index on t%d (made);\ncreate table n%d (id int primary key);\n' $i $i $i >"$files/$name.sql"
    printf 'drop table n%d;\ndrop index t%d_made_idx;\nalter table t%d drop column note;\n' $i $i $i >"$files/$name.rollback.sql"
done

own() {
    "$bin/dropdb" --if-exists own
    "$bin/createdb" -T bench own
    local file script=()
    for file in "$files"/V*__m*.rollback.sql; do
        up=${file%.rollback.sql}.sql
        script+=(-c begin -f "$up" -c commit -c begin -f "$file" -c commit -c begin -f "$up" -c commit)
    done
    local start=$EPOCHREALTIME
    "${psql[@]}" -d own "${script[@]}" >/dev/null
    elapsed "$start"
}

elapsed() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f\n", b - a }'; }
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
timed() {
    local start=$EPOCHREALTIME
    "$@" >/dev/null
    elapsed "$start"
}

for ((run = 0; run < runs; run++)); do
    # `drop database` waits for a checkpoint of the whole server: what the databases of this script wrote is not the dry-run's.
    "${psql[@]}" -d postgres -c checkpoint
    timed "$bin/pg_dump" --schema-only bench >>"$work/dump"
    own >>"$work/own"
    "${psql[@]}" -d postgres -c checkpoint
    timed "$migrate" --dry-run --directory "$files" >>"$work/dry_run"
done
dump=$(median <"$work/dump")
own=$(median <"$work/own")
dry=$(median <"$work/dry_run")
echo "$tables tables, $pending pending, medians of $runs runs, in seconds"
echo "pg_dump -s                    $dump"
echo "the migrations (up, down, up) $own"
echo "migrate --dry-run             $dry"
awk -v dump="$dump" -v own="$own" -v dry="$dry" \
    'BEGIN { printf "the dry-run without the migrations is %.1f × pg_dump -s (wanted: under 3)\n", (dry - own) / dump }'
