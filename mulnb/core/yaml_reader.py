"""Reads YAML that a user gives.

A key that stands there twice, an alias that multiplies itself and nesting without end are refused in one line; none is a hang.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from mulnb.core import plain_file
from mulnb.core.errors import UserError, one_line

LONGEST = 2**20  # bytes of a YAML file; the largest profile of the package has some thousand
DEEPEST = 100  # brackets inside each other
MOST = 20_000  # values of a file when every alias is written out
NO_WORDS = {"bool": "true or false", "int": "a number", "float": "a number", "null": "nothing", "timestamp": "a date"}
OTHER_KINDS = ("set", "omap", "pairs", "binary")  # of values that YAML knows and no profile has; a set has no order


class BadYaml(ValueError):
    """The text cannot be used. The message is one line without the name of the file."""


def parse(text: str) -> object:
    """The value of a YAML text.

    Args:
        text: the text; only plain values (no Python objects) can be in it.

    Returns:
        Mappings, lists, strings, numbers, booleans, dates or None.

    Raises:
        BadYaml: it is not valid YAML, names a key twice, holds itself, or becomes very large when its aliases are written out.
    """
    _refuse_depth(text)
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        if root is not None:
            _count(root, {}, set())
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadYaml(_said(error)) from None
    except RecursionError:
        raise BadYaml("it is nested too deeply") from None
    except (ValueError, OverflowError, TypeError) as error:  # a date like 2024-99-99, a number of 10 000 digits
        raise BadYaml(one_line(error).partition(";")[0]) from None  # after it, advice for programmers


def _refuse_depth(text: str) -> None:
    """Refuse what opens bracket after bracket: the library would look ahead at each of them, and take a minute."""
    depth = 0
    for sign in text:
        depth += (sign in "[{") - (sign in "]}")
        if depth > DEEPEST:
            raise BadYaml("it is nested too deeply")


def _said(error: yaml.YAMLError) -> str:
    """What is wrong and in which line, without the six lines that the library draws."""
    mark = getattr(error, "problem_mark", None)
    if mark is None or not error.problem:
        return one_line(str(error).replace('in "<unicode string>", ', ""))

    tab = ": use spaces instead of tabs" if "'\\t'" in error.problem else ""
    return f"line {mark.line + 1}: {error.problem}{tab}"


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys and values of a profile.

    Raises:
        UserError: the file cannot be read, is no good YAML, or holds something else than keys with values.
    """
    try:
        tree = parse(plain_file.read(path, LONGEST).decode())
    except UnicodeDecodeError:
        raise UserError(f"profile {path}: cannot be read: it is not text in UTF-8: save it as that") from None
    except BadYaml as error:
        raise UserError(f"profile {path}: cannot be read: {error}") from None

    if not isinstance(tree, dict):
        raise UserError(f"profile {path}: a mapping of keys to values is expected at the top level")
    return tree


def set_dotted(tree: dict, dotted: str, value: Any) -> None:
    """Set the value of a dotted key in a tree of mappings; missing mappings are made.

    Raises:
        UserError: a key on the way has a value and no keys below it.
    """
    *parents, last = dotted.split(".")
    for depth, key in enumerate(parents):
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise UserError(f"override {dotted}: '{'.'.join(parents[: depth + 1])}' is a value, it has no keys below it")

    tree[last] = value


def _count(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """How many values a node has with its aliases written out; each node is visited once, so that a bomb costs nothing.

    Args:
        known: the counts of nodes that were visited, by their id; filled here.
        above: ids of the nodes that hold this one.
    """
    _refuse_what_reads_otherwise(node)
    if id(node) in above:
        raise BadYaml(f"line {node.start_mark.line + 1}: an alias refers to what holds it")
    if id(node) in known:
        return known[id(node)]

    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        below = [part for pair in node.value for part in pair]
    else:
        below = node.value if isinstance(node, yaml.SequenceNode) else []

    count = 1 + sum(_count(part, known, above | {id(node)}) for part in below)
    if count > MOST:
        raise BadYaml(f"line {node.start_mark.line + 1}: more than {MOST} values with its aliases written out")

    known[id(node)] = count
    return count


def _refuse_what_reads_otherwise(node: yaml.Node) -> None:
    """Refuse a value that YAML takes for something else than people who write it."""
    line = f"line {node.start_mark.line + 1}"
    kind = node.tag.rpartition(":")[2]
    if kind in OTHER_KINDS:
        raise BadYaml(f"{line}: a value of the kind !!{kind} is not read here: write a list, a number or text")
    if not isinstance(node, yaml.ScalarNode) or kind not in ("int", "float"):
        return

    if ":" in node.value:
        raise BadYaml(f"{line}: {node.value} would be read as minutes and seconds: write one number")
    if kind == "int" and re.fullmatch("[-+]?0[0_]*[1-7][0-7_]+", node.value):
        raise BadYaml(f"{line}: {node.value} would be read as an octal number: leave out the zeros before it")


def _check_keys(node: yaml.MappingNode) -> None:
    """Refuse a mapping that names a key twice, of which YAML would silently take the last, or one that is no word."""
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue

        line = f"line {key.start_mark.line + 1}"
        if read_as := NO_WORDS.get(key.tag.rpartition(":")[2]):
            raise BadYaml(f"{line}: the key '{key.value}' is read as {read_as}, and a key is a word: correct it")
        if (key.tag, key.value) in seen:
            raise BadYaml(f"{line}: the key '{key.value}' is there twice: remove one")
        seen.add((key.tag, key.value))
