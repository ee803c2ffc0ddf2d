"""Composing a configuration: group files, the recipe, files and ``--set``, in this order, then the schema.

Precedence, lowest first: the schema's defaults, ``data/<data.kind>.yaml`` and
``backbone/<backbone.name>.yaml`` and ``method/<method.name>.yaml``, the recipe, what a given ``model`` was
trained with, ``--config FILE``, ``--set key=value``.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from configs.models import read_model
from configs.schema import Config, keys
from stages.discovery.registry import METHODS
from stages.errors import SettingsError

FOLDER = Path(__file__).resolve().parent
GROUPS = {"data": "kind", "backbone": "name", "method": "name"}
"""Config sections whose defaults depend on one of their keys."""
UNTRAINED = tuple(name for name, method in METHODS.items() if not method().fits())
"""Methods that need no training, which may stand in the place of a model's folder."""


@dataclass(frozen=True)
class Recipe:
    """A recipe file: what it is for, its stages in order, and its settings."""

    name: str
    help: str
    stages: tuple[str, ...]
    settings: Mapping[str, Any]


def recipes() -> list[Recipe]:
    """All recipes, sorted by name."""
    return [recipe(path.stem) for path in sorted((FOLDER / "recipes").glob("*.yaml"))]


def recipe(name: str) -> Recipe:
    """The recipe called ``name``.

    Raises:
        SettingsError: if there is none; names the nearest.
    """
    path = FOLDER / "recipes" / f"{name}.yaml"
    if not path.is_file():
        names = [p.stem for p in (FOLDER / "recipes").glob("*.yaml")]
        raise SettingsError(f"no recipe {name!r}{_nearest(name, names)}; run without arguments for the list")
    content = _read(path)
    return Recipe(name, content.pop("help"), tuple(content.pop("stages")), content)


def compose(name: str, files: Sequence[str] = (), assignments: Sequence[str] = ()) -> Config:
    """The resolved configuration of recipe ``name``.

    Args:
        files: YAML files laid over the recipe, in order.
        assignments: ``key=value`` texts laid over those; the value is YAML, typed by the schema.

    Raises:
        SettingsError: for an unknown key (names the nearest right one), a value of the wrong type, or an
            assignment without ``=``.
    """
    user: dict[str, Any] = {}
    raw: dict[str, str] = {}
    for file in files:
        merge(user, _user_file(file))
    for assignment in assignments:
        key, value = _split(assignment)
        raw[key] = value
        _put(user, key, _parse(value))
    _refuse_unknown(user)
    if user.get("model") in UNTRAINED:
        merge(user, {"method": {"name": user.pop("model")}})
    own = dict(recipe(name).settings)
    if user.get("model"):
        merge(own, read_model(str(user["model"])).settings)
    merge(own, user)
    _refuse_unknown(own)
    settings: dict[str, Any] = {}
    for section, key in GROUPS.items():
        chosen = own.get(section, {}).get(key) or _default(section, key)
        path = FOLDER / section / f"{chosen}.yaml"
        if path.is_file():
            merge(settings, {section: {key: chosen}})
            merge(settings, _read(path))
    merge(settings, own)
    merge(settings, {"recipe": name})
    return _expanded(_validate(settings, raw))


def merge(base: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Lay the nested mapping ``over`` over ``base``, in place."""
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = copy.deepcopy(dict(value) if isinstance(value, Mapping) else value)


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as plain data, ready for YAML or JSON."""
    plain: dict[str, Any] = TypeAdapter(Config).dump_python(config, mode="json")
    return plain


def _read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text())
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds no settings: expected `section: {{key: value}}`")
    return content


def _user_file(file: str) -> dict[str, Any]:
    path = Path(file).expanduser()
    try:
        return _read(path)
    except OSError as error:
        raise SettingsError(f"can't read --config {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"--config {path} is no YAML: {error}") from error


def _split(assignment: str) -> tuple[str, str]:
    key, separator, value = assignment.partition("=")
    if not separator or not key.strip():
        raise SettingsError(f"--set {assignment!r}: expected key=value, e.g. --set data.root=~/videos")
    return key.strip(), value


def _parse(value: str) -> Any:
    if value == "~" or value.startswith("~/"):
        return value  # a home folder; YAML reads a lone ~ as null
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _put(settings: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        if not isinstance(settings.get(section), dict):
            settings[section] = {}
        settings = settings[section]
    settings[last] = value


def _flat(settings: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and name not in known:
            found += _flat(value, known, name + ".") or [name]
        else:
            found.append(name)
    return found


def _refuse_unknown(settings: Mapping[str, Any]) -> None:
    known = keys()
    sections = {field.name for field in dataclasses.fields(Config)}  # one of them has no options
    for name in _flat(settings, known):
        if name not in known and name not in sections and not any(k.startswith(name + ".") for k in known):
            raise SettingsError(f"unknown setting {name!r}{_nearest(name, known)}")


def _nearest(name: str, known: Any) -> str:
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    if not matches:  # a key without its section
        last = name.rsplit(".", 1)[-1]
        matches = [k for k in known if k.rsplit(".", 1)[-1] == last][:1]
    return f", did you mean {matches[0]!r}?" if matches else ""


def _default(section: str, key: str) -> str:
    return str(getattr(getattr(Config(), section), key))


def _validate(settings: dict[str, Any], raw: Mapping[str, str]) -> Config:
    """Apply the schema; a value that YAML took for another type (a name like 2016) is tried as text."""
    adapter = TypeAdapter(Config)
    try:
        return adapter.validate_python(settings)
    except ValidationError as first:
        failed = {".".join(str(p) for p in e["loc"]) for e in first.errors()}
        for key, value in raw.items():
            if any(place == key or place.startswith(key + ".") for place in failed):
                _put(settings, key, value)
        try:
            return adapter.validate_python(settings)
        except ValidationError:
            raise SettingsError(_explain(first, raw)) from first


def _explain(error: ValidationError, raw: Mapping[str, str]) -> str:
    lines = []
    for entry in error.errors():
        cause = entry.get("ctx", {}).get("error")
        if isinstance(cause, SettingsError):  # it names the setting itself
            lines.append(str(cause))
            continue
        place = ".".join(str(p) for p in entry["loc"])
        key = next((k for k in keys() if place == k or place.startswith(k + ".")), place)
        lines.append(f"{key}={raw.get(key, entry['input'])!s}: {entry['msg']}")
    return "; ".join(dict.fromkeys(lines))


def _expanded(config: Config) -> Config:
    """``~`` expanded in the settings that are paths."""
    from dataclasses import replace

    def home(path: str) -> str:
        return str(Path(path).expanduser()) if path.startswith("~") else path

    return replace(
        config,
        store=home(config.store),
        data=replace(config.data, root=home(config.data.root)),
        backbone=replace(config.backbone, weights=home(config.backbone.weights)),
    )
