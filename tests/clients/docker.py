"""Stands in for Docker where a suite starts its broker as a container: any image is the broker
that already runs, and its port 5672 is that broker's. Nothing else of Docker is there; port 5671,
which would be TLS, leads nowhere."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The discard service's: nobody listens.
NO_PORT = 9


class Docker:
    def __init__(self, broker_port):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(broker_port))
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    @property
    def url(self):
        return f"tcp://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def handler(broker_port):
    ports = {"5672/tcp": broker_port, "5671/tcp": NO_PORT}
    bindings = {name: [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
                for name, port in ports.items()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = {"Id": "the-broker", "NetworkSettings": {"Ports": bindings}}
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *arguments):
            pass

    return Handler
