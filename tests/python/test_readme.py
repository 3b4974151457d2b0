"""The README's Python snippets work as pasted."""

import re
import subprocess
import sys

import pytest
from conftest import PATIENCE, REPOSITORY

DEFAULT_PORT = 5672


def snippets():
    readme = REPOSITORY / "README.md"
    text = readme.read_text() if readme.exists() else ""
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def aimed_at(code, broker):
    """The snippet, calling the broker under test where it would call the default one."""
    parameters = broker.parameters()
    preamble = (
        "import pika.connection\n"
        f"pika.connection.Parameters.DEFAULT_PORT = {parameters.port}\n"
        f"pika.connection.Parameters.DEFAULT_HOST = {parameters.host!r}\n"
    )
    return preamble + code.replace(f":{DEFAULT_PORT}", f":{parameters.port}")


def test_the_readmes_snippets_run(broker, tmp_path):
    codes = snippets()
    if not codes:
        pytest.skip("README.md has no ```python block")
    for number, code in enumerate(codes):
        script = tmp_path / f"snippet_{number}.py"
        script.write_text(aimed_at(code, broker))
        done = subprocess.run(
            [sys.executable, script], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
