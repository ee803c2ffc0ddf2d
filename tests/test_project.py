"""What holds for the project as a whole: layers, lightness of plans, and what the documentation lists."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.schema import keys
from pipelines import arguments, cli
from stages.features.backbones.table import KNOWN
from stages.outcome import ERROR_CLASSES
from tests import cli as command_line
from tests.media import make_corpus
from tests.outside import PROJECT

PACKAGES = ("pipelines", "cluster", "configs", "stages")
MAY_IMPORT = {
    "stages": {"stages"},
    "configs": {"configs", "stages"},
    "cluster": {"cluster", "stages"},
    "pipelines": {"pipelines", "cluster", "configs", "stages"},
}
FLAGS = {
    "--address", "--config", "--debug", "--du", "--explain", "--gc", "--help", "--json", "--limit",
    "--max-failed", "--plan", "--repair", "--retry-failed", "--runner", "--set", "--status", "--verify",
    "--workers", "--yes",
}  # fmt: skip
CODES = {0: "OK", 1: "BUG", 2: "USAGE", 3: "REJECTS", 4: "DAMAGED", 5: "RESOURCES", 130: "INTERRUPTED"}
HEAVY = {"torch", "torchvision", "ray", "timm", "av", "decord", "cv2", "webdataset", "sklearn", "open_clip"}
LONGEST_FILE = 350
OTHER_COMMANDS = re.compile(r"(^(\$ )?|`)(ray|kubectl|docker) ((?!pipelines/run\.py)[^`\n])*", re.MULTILINE)
"""Commands of others, up to ours where they run one; tests/cluster/test_readme.py knows Ray's own flags."""


def sources(*packages: str) -> Iterator[tuple[Path, ast.Module]]:
    for package in packages:
        for path in sorted((PROJECT / package).rglob("*.py")):
            yield path.relative_to(PROJECT), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    """Top-level packages that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which layer is meant"
            found.add((node.module or "").partition(".")[0])
    return found


def text(*parts: str) -> str:
    return PROJECT.joinpath(*parts).read_text(encoding="utf-8")


def cells(page: str, heading: str) -> list[str]:
    """First cells of the rows of the first table after ``heading``."""
    rows = page.partition(heading)[2].partition("\n|")[2].split("\n")
    table = [row.strip("|").split("|")[0].strip() for row in rows[: rows.index("")]]
    return table[2:]


@pytest.mark.parametrize("package", PACKAGES)
def test_layers_look_down(package: str) -> None:
    wrong = {
        str(path): sorted(seen)
        for path, tree in sources(package)
        if (seen := (imported(tree) & ({*PACKAGES, "tests", "benchmarks"}) - MAY_IMPORT[package]))
    }
    assert not wrong


def test_only_cluster_imports_ray() -> None:
    assert [str(p) for p, tree in sources("stages", "configs", "pipelines") if "ray" in imported(tree)] == []
    seen = {p.stem for p, tree in sources("cluster") if "ray" in imported(tree)}
    assert "on_ray" in seen
    assert all("ray" in name for name in seen), "the other modules work where there is no ray"


def test_nothing_prints_and_nothing_is_swallowed() -> None:
    """Output goes through `pipelines.output`; there is no except clause without a type."""
    prints, bare = [], []
    for path, tree in sources(*PACKAGES):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                prints.append(f"{path}:{node.lineno}")
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                bare.append(f"{path}:{node.lineno}")
    assert (prints, bare) == ([], [])


def test_files_are_small() -> None:
    long = {
        str(path): lines
        for path, _ in sources(*PACKAGES)
        if (lines := len(text(str(path)).splitlines())) > LONGEST_FILE
    }
    assert not long


def loaded_by(*args: object, cwd: Path) -> set[str]:
    """Top-level packages that ``pipelines/run.py`` with ``args`` loads, as the interpreter itself reports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(PROJECT / "pipelines" / "run.py"), *map(str, args)],
        capture_output=True, text=True, cwd=cwd, env=command_line.environment(), timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    names = re.findall(r"^import time: .*\|\s*(\S+)$", done.stderr, re.MULTILINE)
    assert "pipelines.planning" in names
    return {name.partition(".")[0] for name in names}


def test_plans_are_light(tmp_path: Path) -> None:
    """--plan loads neither torch nor ray nor a decoder: before the first run, after it, and for a ViT."""
    make_corpus(tmp_path / "videos", 2, frames=4)
    run = command_line.features(tmp_path / "videos", tmp_path / "store")
    vit = [*run, "--set", "backbone.name=dinov2_vits14", "--set", "backbone.weights=random"]
    assert loaded_by(*run, "--plan", cwd=tmp_path) & HEAVY == set()
    command_line.run(*run, "--runner", "local")
    assert loaded_by(*run, "--plan", cwd=tmp_path) & HEAVY == set()
    assert loaded_by(*vit, "--plan", cwd=tmp_path) & HEAVY == set()


def test_works_from_any_directory(tmp_path: Path) -> None:
    listed = command_line.run_json(cwd=tmp_path)["recipes"]
    assert set(listed) == {path.stem for path in (PROJECT / "configs" / "recipes").glob("*.yaml")}
    assert all(listed.values())


def test_flags_are_frozen_and_documented() -> None:
    options = {flag for action in arguments.parser()._actions for flag in action.option_strings}
    assert {flag for flag in options if flag.startswith("--")} == FLAGS
    described = set(re.findall(r"--[a-z-]+", " ".join(cells(text("docs", "cli.md"), "## Flags"))))
    assert described == FLAGS


def test_exit_codes_are_frozen_and_documented() -> None:
    assert {getattr(cli, name): name for name in CODES.values()} == CODES
    assert [int(code) for code in cells(text("docs", "cli.md"), "## Exit codes")] == sorted(CODES)


def test_error_classes_are_documented() -> None:
    described = [cell.strip("`") for cell in cells(text("docs", "rejects.md"), "## Error classes")]
    assert sorted(described) == sorted(ERROR_CLASSES)


def test_every_setting_has_a_help_text() -> None:
    """The knobs of sprites are the only ones that one sentence in docs/cli.md may stand for."""
    without = [name for name, help_text in keys().items() if not help_text]
    assert [name for name in without if not name.startswith("data.sprites.")] == []
    assert "`data.sprites.*`" in text("docs", "cli.md")


def test_backbones_are_in_the_readme() -> None:
    table = text("README.md").partition("## Backbones")[2]
    for model in KNOWN.values():
        row = next((row for row in table.splitlines() if f"`{model.name}`" in row), "")
        assert row.endswith(f"| {model.patch} | {model.width} | {model.default_size} |"), model.name


def test_commands_in_the_pages_exist() -> None:
    targets = set(re.findall(r"^(\w+):", text("Makefile"), re.MULTILINE))
    recipes = {path.stem for path in (PROJECT / "configs" / "recipes").glob("*.yaml")} | {arguments.COMPARE}
    for page in [PROJECT / "README.md", PROJECT / "cluster" / "README.md", *(PROJECT / "docs").glob("*.md")]:
        content = OTHER_COMMANDS.sub("", page.read_text(encoding="utf-8"))
        assert set(re.findall(r"[`$] ?make (\w+)", content)) <= targets, page.name
        assert set(re.findall(r"pipelines/run\.py ([a-z]\w*)", content)) <= recipes, page.name
        flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", content))
        assert flags <= FLAGS | {"--write"}, page.name


def test_lock_holds_versions_and_nothing_else() -> None:
    lines = [line for line in text("requirements.lock").splitlines() if line and not line.startswith("#")]
    wrong = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9][\w.-]*==[\w.!+-]+", line)]
    assert lines and not wrong
    assert "://" not in text("requirements.lock")


def test_the_lock_has_every_dependency() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    locked = {
        re.split("==", line)[0].lower().replace("_", "-") for line in text("requirements.lock").splitlines()
    }
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.match(r"[\w.-]+", entry)[0].lower().replace("_", "-") for entry in asked}
    assert names - locked == set()


def test_packages() -> None:
    config = tomllib.loads(text("pyproject.toml"))
    assert config["project"]["name"] == "tubeflow"
    assert config["project"]["requires-python"] == ">=3.11"
    included = {name.rstrip("*") for name in config["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert included == set(PACKAGES)
    without = {
        str(p.parent) for p, _ in sources(*PACKAGES) if not (PROJECT / p.parent / "__init__.py").exists()
    }
    assert not without


@pytest.mark.parametrize("name", [".gitignore", ".rayignore"])
def test_what_is_left_out(name: str) -> None:
    lines = {line.strip("/") for line in text(name).split()}
    assert {".venv", "quickstart", "store"} <= lines
    if name == ".rayignore":
        assert {"tests", "data", ".git"} <= lines


def test_no_path_of_this_machine() -> None:
    """Nothing in the project knows where it lies."""
    here = str(PROJECT)
    found = []
    for folder in (*PACKAGES, "tests", "docs", "benchmarks", ".ci"):
        for path in (PROJECT / folder).rglob("*"):
            if path.suffix in {".py", ".md", ".yaml", ".sh", ".json", ""} and path.is_file():
                found += [path] if here in path.read_text(encoding="utf-8", errors="replace") else []
    assert not found


def test_json_errors_are_one_object(tmp_path: Path) -> None:
    said = command_line.run_json("features", "--set", "decode.ftps=2", code=2, cwd=tmp_path)
    assert said["exit_code"] == 2 and "decode.fps" in said["error"]
