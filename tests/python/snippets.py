"""Python snippets in Markdown files, run as pasted."""

import re
import subprocess
import sys

from conftest import PATIENCE, REPOSITORY

DEFAULT_PORT = 5672
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets(path):
    """Of a file in the repository: each snippet with the output that stands behind it, if any."""
    blocks = BLOCK.findall((REPOSITORY / path).read_text())
    nexts = [*blocks[1:], ("", "")]
    return [
        (code, text if kind_behind == "text" else None)
        for (kind, code), (kind_behind, text) in zip(blocks, nexts)
        if kind == "python"
    ]


def aimed_at(code, broker):
    """The snippet, calling the broker under test where it would call the default one."""
    parameters = broker.parameters()
    preamble = (
        "import pika.connection\n"
        f"pika.connection.Parameters.DEFAULT_PORT = {parameters.port}\n"
        f"pika.connection.Parameters.DEFAULT_HOST = {parameters.host!r}\n"
    )
    return preamble + code.replace(f":{DEFAULT_PORT}", f":{parameters.port}")


def run(code, broker, script):
    """What the snippet prints; `script` is where it is kept meanwhile."""
    script.write_text(aimed_at(code, broker))
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout
