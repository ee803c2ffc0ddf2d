"""Help texts of settings, taken from where they are documented: the docstrings of the spec classes."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from functools import cache

from stages.sprites.spec import Knobs, SpritesSpec


@cache
def field_help(cls: type) -> dict[str, str]:
    """The text that documents each field of the dataclass ``cls`` and its bases.

    Understands ``metadata={"help": ...}``, a string under the field, and the ``Attributes:`` section. The
    knobs of sprites are documented where they are resolved.
    """
    found: dict[str, str] = dict(field_help(Knobs)) if cls is SpritesSpec else {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        found |= _section(inspect.getdoc(base) or "")
        found |= _under_fields(base)
    found |= {f.name: f.metadata["help"] for f in dataclasses.fields(cls) if "help" in f.metadata}
    return {name: _plain(text) for name, text in found.items()}


def _section(doc: str) -> dict[str, str]:
    """``name: text`` entries of an ``Attributes:`` section, continuation lines joined."""
    body = doc.partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    name = ""
    for line in body.splitlines():
        if line and not line.startswith("    "):
            break
        match = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if match:
            name = match[1]
            found[name] = match[2]
        elif name:
            found[name] += " " + line.strip()
    return found


def _under_fields(cls: type) -> dict[str, str]:
    """Strings that stand under annotated fields."""
    (tree,) = ast.parse(inspect.cleandoc(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for entry, below in zip(tree.body, tree.body[1:], strict=False):
        documented = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name) and documented:
            assert isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            found[entry.target.id] = str(below.value.value)
    return found


def _plain(text: str) -> str:
    """One line without code quotes and without the full stop."""
    return " ".join(text.replace("`", "").split()).removesuffix(".")
