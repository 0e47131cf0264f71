#!/bin/sh
# How long it takes to read, fingerprint and compare a schema of 1,000 tables (`migrate drift`, process start included), and how long
# `pg_dump --schema-only` of the same takes, turn by turn on one private server with fsync on. Prints medians in milliseconds, and the peak of memory.
#
#   cargo build --release -p liftlock-migrate && benches/schema.sh [RUNS]
#
# MIGRATE names another binary; PGBIN the directory of PostgreSQL's programs. Root runs the server as the account postgres.
set -eu
runs=${1:-11}
migrate=${MIGRATE:-$(dirname "$0")/../target/release/migrate}
bin=${PGBIN:-$(pg_config --bindir)}
work=$(mktemp -d)
as=''
if [ "$(id -u)" = 0 ]; then
    chown postgres "$work"
    as='runuser -u postgres --'
fi
trap '$as "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || :; rm -rf "$work"' EXIT
(cd "$work" && $as "$bin/initdb" -D "$work/data" -U postgres -A trust >/dev/null)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd "$work" && $as "$bin/pg_ctl" -D "$work/data" -l "$work/log" -w -o "-p $port -h 127.0.0.1 -k $work" start >/dev/null)
export DATABASE_URL="postgres://postgres@127.0.0.1:$port/postgres"
psql=$bin/psql

"$psql" -qX -v ON_ERROR_STOP=1 "$DATABASE_URL" <<'SQL'
do $$
begin
    for i in 1..1000 loop
        execute format('create table t%s (id bigint generated always as identity primary key, name text not null default ''x'',
            email varchar(80) unique, amount numeric(10, 2) check (amount > 0), parent bigint references t%s, at timestamptz default now())',
            i, greatest(i - 1, 1));
        execute format('create index t%s_at on t%s (at desc) where amount > 10', i, i);
        execute format('create index t%s_name on t%s (lower(name))', i, i);
        execute format('comment on table t%s is ''table %s''', i, i);
        execute format('comment on column t%s.name is ''its name''', i);
        if i % 100 = 0 then commit; end if;
    end loop;
end $$;
SQL
"$psql" -qX "$DATABASE_URL" -c 'vacuum analyze'
"$migrate" drift --accept 'the baseline of the benchmark' >/dev/null

python3 - "$runs" "$migrate" "$bin/pg_dump" "$psql" <<'PYTHON'
import os, statistics, subprocess, sys, time

runs, migrate, pg_dump, psql = int(sys.argv[1]), *sys.argv[2:]
url = os.environ["DATABASE_URL"]
peaks = {}

def timed(command, expected=0):
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    took = (time.perf_counter() - start) * 1000
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == expected, (command, child.returncode)
    peaks[command[0]] = max(peaks.get(command[0], 0), usage.ru_maxrss / 1024)
    return took

def turns(title, drifted):
    times = {"pg_dump": [], "migrate drift": []}
    for _ in range(runs + 1):
        times["pg_dump"].append(timed([pg_dump, "--schema-only", url]))
        times["migrate drift"].append(timed([migrate, "drift"], 1 if drifted else 0))
    medians = {name: statistics.median(list[1:]) for name, list in times.items()}
    print(f"{title}: " + ", ".join(f"{name} {median:.0f} ms" for name, median in medians.items()))

turns("1,000 tables, nothing changed (read, fingerprint)", False)
subprocess.run([psql, "-qX", url, "-c", "alter table t7 drop name; drop index t9_at"], check=True)
turns("1,000 tables, two changed (read, fingerprint, compare, diff)", True)
print(f"migrate's peak of memory: {peaks[migrate]:.0f} MiB")
PYTHON
