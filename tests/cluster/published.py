"""Published schemas of what we hand to others: KubeRay's kinds with Kubernetes' pods, and Ray's own options.

KubeRay publishes its fields as tables (``tests/third_party/kuberay``). They become a JSON schema here, in
which fields that no table lists are refused; the API server would drop them without a word.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import click
from jsonschema import Draft202012Validator

from tests.outside import PROJECT

THIRD_PARTY = PROJECT / "tests" / "third_party"
KUBERAY = THIRD_PARTY / "kuberay" / "api-reference-v1.7.0.md"
KUBERNETES = THIRD_PARTY / "kubernetes" / "podtemplatespec-v1.34.0.json"

_ROW = re.compile(r"^\| `(\w+)` _(.+?)_ \|.*\|([^|]*)\|$", re.MULTILINE)
_LINK = re.compile(r"\[(\w+)\]\(([^)]*)\)")
_PLAIN = {"string": "string", "integer": "integer", "boolean": "boolean", "float": "number"}
_GROUPS = {"core": "io.k8s.api.core.v1", "meta": "io.k8s.apimachinery.pkg.apis.meta.v1"}


@cache
def kuberay_schema(kind: str) -> dict[str, Any]:
    """JSON schema of a KubeRay kind, such as ``RayJob``."""
    pods = json.loads(KUBERNETES.read_text(encoding="utf-8"))["$defs"]
    sections = re.split(r"^## ", KUBERAY.read_text(encoding="utf-8"), flags=re.MULTILINE)[2:]
    own = {section.split("\n", 1)[0]: _section(section, pods) for section in sections}
    return {"$ref": f"#/$defs/{kind}", "$defs": {**pods, **own}}


def _section(text: str, pods: dict[str, Any]) -> dict[str, Any]:
    if "_Underlying type:_ _string_" in text:
        listed = re.search(r"^- Enum: \[(.*)\]", text, re.MULTILINE)
        names = listed[1].split() if listed else re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
        return {"type": "string", "enum": names}
    fields = {name: {**_type(kind, pods), **_limits(checks)} for name, kind, checks in _ROW.findall(text)}
    return {"type": "object", "properties": fields, "additionalProperties": False}


def _type(text: str, pods: dict[str, Any]) -> dict[str, Any]:
    if text.endswith(" array"):
        return {"type": "array", "items": _type(text.removesuffix(" array"), pods)}
    if text == "object (keys:string, values:string)":
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if text in _PLAIN:
        return {"type": _PLAIN[text]}
    name, target = _LINK.fullmatch(text).groups()
    if target.startswith("#"):
        return {"$ref": f"#/$defs/{name}"}
    full = f"{_GROUPS.get(target.rsplit('-', 1)[1], '')}.{name}"
    return {"$ref": f"#/$defs/{full}"} if full in pods else {"type": "string"}


def _limits(checks: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if match := re.search(r"Enum: \[(.*?)\]", checks):
        found["enum"] = match[1].split()
    for name, keyword in (("Minimum", "minimum"), ("MinItems", "minItems"), ("MinLength", "minLength")):
        if match := re.search(rf"{name}: (\d+)", checks):
            found[keyword] = int(match[1])
    return found


def complaints(manifest: dict[str, Any]) -> list[str]:
    """What its published schema says against a manifest, each with the place."""
    errors = Draft202012Validator(kuberay_schema(manifest["kind"])).iter_errors(manifest)
    return sorted({f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors})


def ray_command(*names: str) -> click.Command:
    """A command of Ray's command line, such as ``("job", "submit")``."""
    from ray.scripts.scripts import cli

    command: Any = cli
    for name in names:
        command = command.commands[name]
    return command


def options_of(command: click.Command) -> set[str]:
    """Every ``--option`` that a command takes."""
    return {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts}
