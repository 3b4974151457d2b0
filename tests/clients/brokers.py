"""The brokers that the suites run against: Rondo as it was built here, RabbitMQ as Debian has it,
or whatever listens at a URL. One is started for each suite, so that no suite inherits queues."""

import base64
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benches"))

import peers  # noqa: E402
import rig  # noqa: E402

# Some suites know no other port.
STANDARD_PORT = 5672
SHARDS = 2
# guest is everybody's default; the other is written into the tests of amqprs.
USERS = {"guest": "guest", "user": "bitnami"}


# The most that one may ask for. Some suites send more than our default; RabbitMQ's is 128 MiB.
BODY_LEN_MAX = 32 * 1024 * 1024
# A busy machine may need a while to start RabbitMQ.
rig.START_TIMEOUT_S = 60
PROFILE = os.environ.get("BROKER_PROFILE", "debug")


class Rondo(rig.Process):
    """The broker from this checkout, with two shards."""

    def __init__(self, port):
        self.folder = tempfile.TemporaryDirectory(prefix="rondo-")
        config = Path(self.folder.name) / "broker.toml"
        config.write_text("".join(
            f'[[user]]\nname = "{name}"\npassword = "{password}"\n'
            for name, password in USERS.items()
        ))
        # Suites that know localhost by name may mean either of its addresses.
        listen = ["--listen", f"127.0.0.1:{port}"]
        if port and has_ipv6():
            listen += ["--listen", f"[::1]:{port}"]
        super().__init__([
            rig.binary("broker", PROFILE), *listen, "--shards", str(SHARDS),
            "--body-max", str(BODY_LEN_MAX), "--config", str(config),
        ])

    def __exit__(self, kind, value, trace):
        try:
            super().__exit__(kind, value, trace)
        finally:
            self.folder.cleanup()

    @property
    def port(self):
        return int(self.address.rpartition(":")[2])

    @property
    def url(self):
        return f"amqp://guest:guest@{self.address}/%2f"


class RabbitMq(peers.RabbitMq):
    """A fresh RabbitMQ with the same users."""

    def __init__(self, port):
        super().__init__()
        if port:
            self.port = port
            self.environment["RABBITMQ_NODE_PORT"] = str(port)
        home = Path(self.folder.name)
        definitions = home / "definitions.json"
        definitions.write_text(json.dumps(self.definitions()))
        with (home / "rabbitmq.conf").open("a") as config:
            config.write(f"load_definitions = {definitions}\n")
            if port and has_ipv6():
                config.write(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
                config.write(f"listeners.tcp.2 = ::1:{port}\n")

    def definitions(self):
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        return {
            "vhosts": [{"name": "/"}],
            "users": [
                {"name": name, "password_hash": password_hash(password),
                 "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": "administrator"}
                for name, password in USERS.items()
            ],
            "permissions": [{"user": name, "vhost": "/", **everything} for name in USERS],
        }


def has_ipv6():
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


def password_hash(password):
    """As RabbitMQ keeps it: four octets of salt, then the digest of salt and password."""
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


class Elsewhere(contextlib.nullcontext):
    """A broker that we did not start."""

    version = "at BROKER_URL"

    def __init__(self, url):
        super().__init__()
        self.url = url
        self.port = urlsplit(url).port or STANDARD_PORT

    def __enter__(self):
        return self


def name():
    """Which broker the environment asks for."""
    if "BROKER_URL" in os.environ:
        return "elsewhere"
    return os.environ.get("BROKER", "rondo")


def start(has_standard_port):
    """A fresh broker, to be entered; on the standard port for a suite that knows no other."""
    port = STANDARD_PORT if has_standard_port else 0
    if name() == "elsewhere":
        broker = Elsewhere(os.environ["BROKER_URL"])
        if has_standard_port and broker.port != STANDARD_PORT:
            sys.exit(f"this suite connects to localhost:{STANDARD_PORT} and to nothing else")
        return broker
    if name() == "rabbitmq":
        if peers.missing(["RabbitMQ"]):
            sys.exit(1)
        return RabbitMq(port)
    if name() != "rondo":
        sys.exit(f"BROKER={name()} is unknown: rondo or rabbitmq")
    return Rondo(port)


def version():
    if name() == "rondo":
        shown = subprocess.run(
            [rig.binary("broker", PROFILE), "--version"],
            capture_output=True, text=True,
        )
        return f"Rondo {shown.stdout.split()[-1]} ({rig.git('rev-parse', '--short', 'HEAD')})"
    return "RabbitMQ" if name() == "rabbitmq" else "the broker at BROKER_URL"
