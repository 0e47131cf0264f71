#!/bin/sh
# Healthy and broken rollouts on the stage under load: failed requests, API calls, and the time from a broken version's first bad
# answer to its last. See README.md.
#
#   cargo build --release -p liftlock -p liftlock-example-shop && benches/rollout.sh
#
# hey (Debian's package of that name) sends the requests. RATE of them a second, ROUNDS healthy rollouts, BROKEN broken ones; THROTTLED=0
# leaves out the one with AWS at one call a second, which takes a quarter of an hour. LIFTLOCK and SHOP name other binaries.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
command -v hey >/dev/null || { echo "install hey first: apt-get install hey" >&2; exit 2; }
work=$(mktemp -d)
LIFTLOCK=$(realpath "${LIFTLOCK:-$top/target/release/liftlock}")
end() { "$LIFTLOCK" --root "$work" local reset >/dev/null 2>&1 || true; rm -rf "$work"; }
trap end EXIT
mkdir -p "$work/environments" "$work/bin" "$work/examples/shop"
cp "$top/environments/base.toml" "$work/environments/"
cp -r "$top/migrations" "$work/"
cp -r "$top/examples/shop/versions" "$work/examples/shop/"
cp "${SHOP:-$top/target/release/liftlock-example-shop}" "$work/bin/shop"
export LIFTLOCK
python3 "$top/benches/rollout.py" "$work"
