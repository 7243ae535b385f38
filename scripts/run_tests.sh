#!/usr/bin/env bash
# Every test, in two halves side by side: the cluster's wait for servers much of their time, and the others calculate.
# Lines of the cluster's half say so. Whichever half fails, the other goes on; one failure fails all.
set -uo pipefail

python=$1
# Tests start hundreds of processes of trunkline's own sources: each would compile them again where this is set.
unset PYTHONDONTWRITEBYTECODE

"$python" -m pytest tests/cluster > >(sed -u 's/^/cluster | /') 2>&1 </dev/null &
cluster=$!
trap 'kill "$cluster" 2>/dev/null' EXIT

"$python" -m pytest tests --ignore=tests/cluster > >(sed -u '') 2>&1 </dev/null
others=$?
wait "$cluster"
servers=$?
echo "every test but the cluster's: exit code $others; the cluster's: $servers"
exit $((others | servers))
