"""The README's Python snippets work as pasted."""

import snippets


def test_the_readmes_snippets_run(broker, tmp_path):
    found = snippets.snippets("README.md")
    assert found
    for code, _ in found:
        snippets.run(code, broker, tmp_path / "snippet.py")
