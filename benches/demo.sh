#!/usr/bin/env bash
# A million direct reply-to calls through a two-shard broker on a free loopback port. Ends with 0
# only if every call came back once and the broker stopped cleanly.
set -euo pipefail
cd "$(dirname "$0")/.."

binaries="${CARGO_TARGET_DIR:-target}/release"
calls="${CALLS:-1000000}"
requesters="${REQUESTERS:-64}"
workers="${WORKERS:-16}"
in_flight="${IN_FLIGHT:-16}"
log=$(mktemp)
broker=

finish() {
    if [[ -n $broker ]] && kill -0 "$broker" 2>/dev/null; then
        kill -TERM "$broker"
        wait "$broker" || true
    fi
    rm -f "$log"
}
trap finish EXIT

fail() {
    printf 'demo: %s\n' "$1" >&2
    sed 's/^/  broker: /' "$log" >&2
    exit 1
}

"$binaries/broker" --listen 127.0.0.1:0 --shards 2 >"$log" 2>&1 &
broker=$!
address=
for _ in $(seq 100); do
    address=$(grep -oE 'listening on .*127\.0\.0\.1:[1-9][0-9]*' "$log" | head -n 1 | grep -oE '[0-9.]+:[0-9]+$' || true)
    [[ -n $address ]] && break
    kill -0 "$broker" 2>/dev/null || fail "the broker did not start"
    sleep 0.1
done
[[ -n $address ]] || fail "the broker did not say where it listens"
echo "broker: two shards on $address; $requesters requesters, $workers workers," \
    "$in_flight calls in flight each, $calls calls"

"$binaries/loadgen" rpc --url "amqp://guest:guest@$address/%2f" \
    --requesters "$requesters" --workers "$workers" --in-flight "$in_flight" \
    --calls "$calls" --reply direct || fail "loadgen: not every call came back once"

kill -TERM "$broker"
status=0
wait "$broker" || status=$?
broker=
((status == 0)) || fail "the broker ended with $status after SIGTERM"
echo "demo: every call came back once, the broker stopped cleanly"
