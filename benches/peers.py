"""The brokers that people weigh Rondo against, each started from its package with settings that
are fair to it, in a fresh temporary folder, on loopback only; stopped whole, with all it started.

RabbitMQ: a fresh node with its defaults (classic queues, memory watermark 0.4, schedulers that do
not spin), TCP_NODELAY on as it is by default, a listen backlog that many clients fit in, log level
warning, and no plugins: no management, so no statistics. NATS: its defaults, without JetStream.
Neither needs root, and no installed service is used or changed.

    peers.py [--install] RabbitMQ NATS    says what is missing, or installs it"""

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import rig

PACKAGES = {"RabbitMQ": "rabbitmq-server", "NATS": "nats-server"}
# Debian's rabbitmq-server in the PATH is a wrapper that wants to be root: this is what it runs.
RABBITMQ_SCRIPTS = ["/usr/lib/rabbitmq/bin/rabbitmq-server"]
EPMD_TIMEOUT_S = 10
RABBITMQ_CONF = """\
tcp_listen_options.backlog = 4096
tcp_listen_options.nodelay = true
tcp_listen_options.linger.on = true
tcp_listen_options.linger.timeout = 0
tcp_listen_options.exit_on_close = false
log.file = false
log.console = true
log.console.level = warning
"""


def rabbitmq_script():
    """The script that starts the server, or None where it is not installed."""
    for path in RABBITMQ_SCRIPTS:
        if Path(path).exists():
            return path
    return shutil.which("rabbitmq-server")


def is_installed(peer):
    if peer == "RabbitMQ":
        return rabbitmq_script() is not None and shutil.which("epmd") is not None
    return shutil.which("nats-server") is not None


def missing(wanted):
    """Those of the wanted peers that are not installed; says how to get them."""
    lacking = [peer for peer in wanted if not is_installed(peer)]
    if lacking:
        names = " ".join(PACKAGES[peer] for peer in lacking)
        how = f"apt-get install -y {names}, or make with INSTALL=1"
        print(f"not installed: {', '.join(lacking)} ({how})", file=sys.stderr)
    return lacking


def install(wanted):
    """Installs what is missing of the wanted peers, by Debian's packages; needs root. Where the
    packages start services, these stand idle beside the runs: every run starts its own."""
    names = [PACKAGES[peer] for peer in wanted if not is_installed(peer)]
    if not names:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *names]
    print(" ".join(command), flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed: run it as root, after apt-get update")


def free_ports(count):
    """Ports that nobody listens on at this moment, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class RabbitMq(rig.Process):
    """A fresh RabbitMQ node. It names itself to an epmd of its own, which ends with it."""

    start_line = re.compile(r"completed with \d+ plugins")
    settings = (
        "RabbitMQ with its defaults from a fresh data folder: classic queues, default memory "
        "watermark, TCP_NODELAY on, backlog 4096, log level warning, no plugins"
    )

    def __init__(self):
        port, self.epmd_port, distribution_port = free_ports(3)
        self.port = port
        self.folder = tempfile.TemporaryDirectory(prefix="rabbitmq-", ignore_cleanup_errors=True)
        home = Path(self.folder.name)
        (home / "rabbitmq.conf").write_text(RABBITMQ_CONF)
        (home / "enabled_plugins").write_text("[].\n")
        (home / "environment.conf").write_text("")
        self.pid_file = home / "pid"
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("RABBITMQ_", "ERL_"))}
        environment |= {
            # Where the node keeps the cookie by which it would know other nodes.
            "HOME": str(home),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_NODENAME": f"peer-{port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback,
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_PID_FILE": str(self.pid_file),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(home / "environment.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        }
        super().__init__([rabbitmq_script()], environment)

    def __enter__(self):
        self.epmd = self.start_epmd()
        try:
            return super().__enter__()
        except BaseException:
            self.stop_rest()
            raise

    def __exit__(self, kind, value, trace):
        try:
            super().__exit__(kind, value, trace)
        finally:
            self.stop_rest()

    def start_epmd(self):
        """In the foreground, so that it is our child; the node finds it and starts none."""
        epmd = subprocess.Popen(
            ["epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + EPMD_TIMEOUT_S
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.epmd_port)) == 0:
                    return epmd
            time.sleep(0.02)
        epmd.kill()
        sys.exit("epmd did not start")

    def stop_rest(self):
        """What is left when the node has ended, or when it did not start."""
        if self.pid_file.exists() and self.is_ours(self.pid):
            os.kill(self.pid, 9)
        self.epmd.terminate()
        self.epmd.wait(EPMD_TIMEOUT_S)
        self.folder.cleanup()

    def is_ours(self, pid):
        """Whether this process still is the node that we started."""
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return self.folder.name.encode() in command

    def address_in(self, found):
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        """The Erlang machine's, which does the work; our child is the script that started it."""
        return int(self.pid_file.read_text())

    @property
    def url(self):
        return f"amqp://guest:guest@{self.address}/%2f"

    @property
    def version(self):
        found = re.search(r"RabbitMQ (\d+\.\d+\.\d+)", "".join(self.lines))
        return found.group(1) if found else "unknown"


class Nats(rig.Process):
    """A NATS server: no JetStream, no monitoring."""

    start_line = re.compile(r"client connections on (127\.0\.0\.1:\d+)")
    # What it answers to SIGTERM.
    clean_ends = (0, 1)
    settings = "nats-server with its defaults, without JetStream"

    def __init__(self):
        super().__init__(["nats-server", "--addr", "127.0.0.1", "--port", "-1"])

    @property
    def url(self):
        return f"nats://{self.address}"

    @property
    def version(self):
        found = re.search(r"Version:\s+(\S+)", "".join(self.lines))
        return found.group(1) if found else "unknown"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", nargs="+", choices=sorted(PACKAGES))
    parser.add_argument("--install", action="store_true")
    options = parser.parse_args()
    if options.install:
        install(options.peers)
    sys.exit(bool(missing(options.peers)))


if __name__ == "__main__":
    main()
