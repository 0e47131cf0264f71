#!/bin/sh
# The rehearsal cloud: how long it takes to start, and how it carries 50 services of 4 tasks, each a small HTTP server in a process of
# its own. Wanted: start under 1 s; 50 services of 4 tasks on 2 cores.
#
#   cargo build --release -p liftlock-stage && benches/stage.sh
#
# STAGE and ECHO name other binaries; PYTHON one that has boto3 (the tests make such a one in target/venv-moto).
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
STAGE=${STAGE:-$top/target/release/liftlock-stage} ECHO=${ECHO:-$top/target/release/stage-echo} WORK=$work \
    "${PYTHON:-$top/target/venv-moto/bin/python}" "$top/benches/stage.py"
