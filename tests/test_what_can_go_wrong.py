"""Every line of the page "What can go wrong" names a test that exists."""

from __future__ import annotations

import ast
import re

from mulnb.core import paths

PAGE = paths.CHECKOUT / "WHAT_CAN_GO_WRONG.md"


def test_every_line_names_a_test_that_exists():
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][1:]
    assert lines

    for line in lines:
        named = re.search(r"`(tests/[\w/]+\.py)::(\w+)`", line)
        assert named, line
        tree = ast.parse((paths.CHECKOUT / named[1]).read_text())
        assert named[2] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, line
