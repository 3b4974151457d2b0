"""The snippets of docs/rpc.md print what stands behind them."""

import pytest
import snippets

RPC = snippets.snippets("docs/rpc.md")
# This one fills the memory.
HEAPING = [(code, expected) for code, expected in RPC if "docs.heap" in code]
PLAIN = [snippet for snippet in RPC if snippet not in HEAPING]


@pytest.fixture(autouse=True)
def only_rondo(broker):
    if not broker.is_own:
        pytest.skip("no other broker follows calls")


@pytest.mark.parametrize("code, expected", PLAIN, ids=range(len(PLAIN)))
def test_a_snippet_prints_what_it_should(broker, tmp_path, code, expected):
    prints(broker, tmp_path, code, expected)


@pytest.mark.parametrize("code, expected", HEAPING, ids=range(len(HEAPING)))
def test_a_snippet_that_fills_the_memory_does_too(small_broker, tmp_path, code, expected):
    prints(small_broker, tmp_path, code, expected)


def prints(broker, tmp_path, code, expected):
    assert expected is not None, "each snippet says what it prints"
    printed = snippets.run(code, broker, tmp_path / "snippet.py")
    # Of two ends of one call either may be heard of first.
    assert sorted(printed.splitlines()) == sorted(expected.splitlines())
