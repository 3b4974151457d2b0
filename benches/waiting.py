#!/usr/bin/env python3
"""Messages that wait: what each costs in memory beside its own octets, and whether a queue with a
million of them is as fast as one with a thousand.

Written to results/waiting/. A message's own octets are its body, properties, exchange and routing
key. The queue's owner is on one shard and, with two, its publisher on the other."""

import argparse
import struct
import time

import idle
import rig

QUEUE = b"waiting"
# Flags and a delivery mode.
PROPERTIES = b"\x10\x00\x01"
OWN_LEN = len(QUEUE) + len(PROPERTIES)
SETTLE_S = 1.0
CHUNK_COUNT = 500
PAIRS_PER_ROUND = 100
# Enough for the largest bodies, whatever the machine's share would be.
QUEUE_MEMORY_MAX = 1 << 33

NAMED = struct.pack(">H", 0) + idle.short(QUEUE)
NO_ARGUMENTS = struct.pack(">I", 0)
DECLARE = idle.method(1, 50, 10, NAMED + b"\0" + NO_ARGUMENTS)
PASSIVE = idle.method(1, 50, 10, NAMED + b"\1" + NO_ARGUMENTS)
# Without acknowledgement.
GET = idle.method(1, 60, 70, NAMED + b"\1")


def frame(kind, payload):
    return struct.pack(">BHI", kind, 1, len(payload)) + payload + idle.FRAME_END


def publish(body_len):
    to_queue = struct.pack(">H", 0) + idle.short(b"") + idle.short(QUEUE) + b"\0"
    header = struct.pack(">HHQ", 60, 0, body_len) + PROPERTIES
    return idle.method(1, 60, 40, to_queue) + frame(2, header) + frame(3, b"x" * body_len)


def fill(sock, body_len, count):
    one = publish(body_len)
    chunk = one * CHUNK_COUNT
    for _ in range(count // CHUNK_COUNT):
        sock.sendall(chunk)
    sock.sendall(one * (count % CHUNK_COUNT))


def message_count(sock):
    """Counted by the queue behind all that this connection has published."""
    sock.sendall(PASSIVE)
    _, _, payload_len = struct.unpack(">BHI", idle.read_exactly(sock, 7))
    payload = idle.read_exactly(sock, payload_len + 1)
    if payload[:4] != struct.pack(">HH", 50, 11):
        raise SystemExit(f"expected queue.declare-ok, got {payload!r}")
    return struct.unpack(">I", payload[5 + payload[4]:9 + payload[4]])[0]


def read_gets(sock, body_len, count):
    """So many answers to basic.get, each of the three frames that the first one has."""
    first = b""
    for _ in range(3):
        head = idle.read_exactly(sock, 7)
        payload_len = struct.unpack(">BHI", head)[2]
        first += head + idle.read_exactly(sock, payload_len + 1)
    if first[7:11] != struct.pack(">HH", 60, 71) or len(first) < body_len:
        raise SystemExit(f"expected basic.get-ok, got {first[:100]!r}")
    left = (count - 1) * len(first)
    while left > 0:
        part = sock.recv(min(left, 1 << 20))
        if not part:
            raise SystemExit("the broker closed the connection")
        left -= len(part)


def open_queue(server, shards):
    owner = idle.connect(server.address, True)
    owner.sendall(DECLARE)
    idle.expect_method(owner, (50, 11))
    # Connections are dealt out in turn.
    publisher = idle.connect(server.address, True) if shards > 1 else owner
    return owner, publisher


def broker(shards):
    return rig.Server(
        "broker", "--shards", str(shards), "--queue-memory-max", str(QUEUE_MEMORY_MAX)
    )


def measure_memory(shards, body_len, count):
    """Growth of a broker of its own. A thousand messages come and go before, so that what it
    needs once is not counted."""
    with broker(shards) as server:
        owner, publisher = open_queue(server, shards)
        warm(owner, publisher, body_len)
        time.sleep(SETTLE_S)
        before = server.memory_b()["rss"]
        fill(publisher, body_len, count)
        found = message_count(publisher)
        if found != count:
            raise SystemExit(f"{count} messages published, {found} wait")
        time.sleep(SETTLE_S)
        during = server.memory_b()["rss"]
        owner.close()
        if publisher is not owner:
            publisher.close()
    each = (during - before) / count
    return {
        "kind": "memory",
        "shards": shards,
        "body_b": body_len,
        "messages": count,
        "rss_before_b": before,
        "rss_per_message_b": each,
        "beside_its_octets_b": each - body_len - OWN_LEN,
    }


def warm(owner, publisher, body_len):
    fill(publisher, body_len, 1_000)
    message_count(publisher)
    owner.sendall(GET * 1_000)
    for _ in range(10):
        read_gets(owner, body_len, 100)


def measure_time(shards, body_len, depth, pairs):
    """Processor time of the broker per message published to, and got from, a queue with so many
    others in front."""
    with broker(shards) as server:
        owner, publisher = open_queue(server, shards)
        warm(owner, publisher, body_len)
        fill(publisher, body_len, depth)
        message_count(publisher)
        one = publish(body_len)
        cpu, started = server.cpu_s(), time.monotonic()
        for _ in range(pairs // PAIRS_PER_ROUND):
            publisher.sendall(one * PAIRS_PER_ROUND)
            # Otherwise the owner might get more than there are.
            message_count(publisher)
            owner.sendall(GET * PAIRS_PER_ROUND)
            read_gets(owner, body_len, PAIRS_PER_ROUND)
        elapsed_s = time.monotonic() - started
        cpu = server.cpu_s() - cpu
        found = message_count(publisher)
        if found != depth:
            raise SystemExit(f"{depth} messages should wait, not {found}")
        owner.close()
        if publisher is not owner:
            publisher.close()
    return {
        "kind": "time",
        "shards": shards,
        "body_b": body_len,
        "messages": depth,
        "cpu_us_per_pair": cpu * 1e6 / pairs,
        "us_per_pair": elapsed_s * 1e6 / pairs,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rig.stop_on_sigterm()

    memory = [(shards, body_len) for shards in (1, 2) for body_len in (16, 100, 1_000)]
    depths = sorted({1_000, 100_000, options.messages})
    speed = [(shards, depth) for shards in (1, 2) for depth in depths]
    runs = []
    for number in range(options.rounds):
        for shards, body_len in memory:
            runs.append(measure_memory(shards, body_len, options.messages))
            print(f"round {number + 1} of {options.rounds}: {runs[-1]}", flush=True)
        for shards, depth in speed:
            runs.append(measure_time(shards, 100, depth, options.pairs))
            print(f"round {number + 1} of {options.rounds}: {runs[-1]}", flush=True)

    about = rig.facts("make bench-waiting")
    rows = []
    for shards, body_len in memory:
        mine = [run for run in runs if run["kind"] == "memory"
                and (run["shards"], run["body_b"]) == (shards, body_len)]
        median = rig.medians(mine, ["rss_per_message_b", "beside_its_octets_b"])
        rows.append([
            shards, f"{body_len:,} B", f"{median['rss_per_message_b']:,.0f} B",
            f"{median['beside_its_octets_b']:,.0f} B",
        ])
    lines = rig.header("Memory and time of messages that wait", about)
    lines += [
        f"{options.messages:,} messages in one queue, published over loopback, by the other shard "
        f"where there are two; growth of the broker per message, medians of {options.rounds} "
        "rounds, each with a fresh broker. Its own octets are body, properties, exchange and "
        "routing key.",
        "",
    ]
    lines += rig.table(["shards", "body", "resident, each", "beside its own octets"], rows)
    lines += ["", "Aim: at most 160 B beside its own octets.", ""]
    rows = []
    for shards, depth in speed:
        mine = [run for run in runs if run["kind"] == "time"
                and (run["shards"], run["messages"]) == (shards, depth)]
        median = rig.medians(mine, ["cpu_us_per_pair", "us_per_pair"])
        rows.append([
            shards, f"{depth:,}",
            f"{median['cpu_us_per_pair']:.2f}", f"{median['us_per_pair']:.1f}",
        ])
    lines += [
        f"One message published and one got by basic.get, 100 B, {PAIRS_PER_ROUND} of each at a "
        f"time, {options.pairs:,} in all, while so many others wait:",
        "",
    ]
    lines += rig.table(
        ["shards", "waiting", "broker's CPU µs per pair", "elapsed µs per pair"], rows
    )
    rig.write_results("waiting", lines, {**about, "runs": runs})


if __name__ == "__main__":
    main()
