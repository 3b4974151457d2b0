#!/usr/bin/env python3
"""Memory of idle connections: opens them, does nothing, and reads what the broker has grown.

Written to results/idle/. Kernel memory of the sockets is not the broker's and not counted."""

import argparse
import socket
import struct
import time

import rig

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
FRAME_END = b"\xce"
SETTLE_S = 1.0
WARM_CONNECTION_COUNT = 512


def short(text):
    return struct.pack(">B", len(text)) + text


def method(channel, class_id, method_id, arguments):
    payload = struct.pack(">HH", class_id, method_id) + arguments
    return struct.pack(">BHI", 1, channel, len(payload)) + payload + FRAME_END


# Heartbeats every 60 s, the default: a run is over before the first one.
START_OK = method(
    0, 10, 11, struct.pack(">I", 0) + short(b"PLAIN") + struct.pack(">I", 12)
    + b"\0guest\0guest" + short(b"en_US"),
)
TUNE_OK = method(0, 10, 31, struct.pack(">HIH", 2047, 131072, 60))
OPEN = method(0, 10, 40, short(b"/") + short(b"") + b"\0")
CHANNEL_OPEN = method(1, 20, 10, short(b""))


def read_exactly(sock, count):
    parts = b""
    while len(parts) < count:
        part = sock.recv(count - len(parts))
        if not part:
            raise SystemExit("the broker closed a connection that should be idle")
        parts += part
    return parts


def expect_method(sock, wanted):
    _, _, payload_len = struct.unpack(">BHI", read_exactly(sock, 7))
    payload = read_exactly(sock, payload_len + 1)
    found = struct.unpack(">HH", payload[:4])
    if found != wanted:
        raise SystemExit(f"expected method {wanted}, got {found}: {payload[4:200]!r}")


def connect(address, with_channel):
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host, int(port)), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(PROTOCOL_HEADER)
    expect_method(sock, (10, 10))
    sock.sendall(START_OK)
    expect_method(sock, (10, 30))
    sock.sendall(TUNE_OK + OPEN)
    expect_method(sock, (10, 41))
    if with_channel:
        sock.sendall(CHANNEL_OPEN)
        expect_method(sock, (20, 11))
    return sock


def measure(count, shards, with_channel):
    """Growth per connection, of a broker of its own. Some connections come and go before, one at
    a time, so that what a broker needs once (its ring's receive buffers above all) is not counted
    for each."""
    with rig.Server("broker", "--shards", str(shards)) as server:
        for _ in range(WARM_CONNECTION_COUNT):
            connect(server.address, with_channel).close()
        time.sleep(SETTLE_S)
        before = server.memory_b()
        started = time.monotonic()
        open_sockets = [connect(server.address, with_channel) for _ in range(count)]
        connect_s = time.monotonic() - started
        time.sleep(SETTLE_S)
        during = server.memory_b()
        for sock in open_sockets:
            sock.close()
        time.sleep(SETTLE_S)
        after = server.memory_b()
    return {
        "connections": count,
        "channels_each": int(with_channel),
        "shards": shards,
        "rss_before_b": before["rss"],
        "rss_per_connection_b": (during["rss"] - before["rss"]) / count,
        "pss_per_connection_b": (during["pss"] - before["pss"]) / count,
        "rss_kept_after_close_b": after["rss"] - before["rss"],
        "connects_per_s": count / connect_s,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=2)
    options = parser.parse_args()
    rig.raise_nofile()

    runs = []
    for number in range(options.rounds):
        for with_channel in (False, True):
            runs.append(measure(options.connections, options.shards, with_channel))
            print(f"round {number + 1} of {options.rounds}: {runs[-1]}", flush=True)

    about = rig.facts("make bench-idle")
    rows = []
    for channels in (0, 1):
        mine = [run for run in runs if run["channels_each"] == channels]
        median = rig.medians(
            mine,
            ["rss_per_connection_b", "pss_per_connection_b", "rss_kept_after_close_b",
             "rss_before_b", "connects_per_s"],
        )
        rows.append([
            "connection and one channel" if channels else "connection only",
            f"{median['rss_per_connection_b'] / 1000:.1f} kB",
            f"{median['pss_per_connection_b'] / 1000:.1f} kB",
            f"{median['rss_before_b'] / 1e6:.1f} MB",
            f"{median['rss_kept_after_close_b'] / 1e6:.1f} MB",
            f"{median['connects_per_s']:,.0f}",
        ])
    lines = rig.header("Memory of an idle connection", about)
    lines += [
        f"{options.connections:,} connections to {options.shards} shards, opened one after "
        f"another; growth of the broker per connection, medians of {options.rounds} rounds, "
        "each with a fresh broker.",
        "",
    ]
    lines += rig.table(
        ["", "resident, each", "proportional, each", "before", "kept after close", "opened per s"],
        rows,
    )
    lines += ["", "Aim: at most 20 kB per connection."]
    rig.write_results("idle", lines, {**about, "runs": runs})


if __name__ == "__main__":
    main()
