"""The snippets of docs/rpc.md print what stands behind them."""

import pytest
import snippets

RPC = snippets.snippets("docs/rpc.md")


@pytest.fixture(autouse=True)
def only_rondo(broker):
    if not broker.is_own:
        pytest.skip("no other broker follows calls")


@pytest.mark.parametrize("code, expected", RPC, ids=range(len(RPC)))
def test_a_snippet_prints_what_it_should(broker, tmp_path, code, expected):
    assert expected is not None, "each snippet says what it prints"
    printed = snippets.run(code, broker, tmp_path / "snippet.py")
    # Of two ends of one call either may be heard of first.
    assert sorted(printed.splitlines()) == sorted(expected.splitlines())
