"""The image of a node, and what ``ray job submit --working-dir .`` uploads."""

from __future__ import annotations

import re
import subprocess
import zipfile
from pathlib import Path

import pathspec
import pytest

from tests.outside import PROJECT

LOCK = (PROJECT / "requirements.lock").read_text(encoding="utf-8")
LOCKED_RAY = re.search(r"^ray==(.+)$", LOCK, re.MULTILINE)[1]
LOCKED_PYTHON = re.search(r"CPython (\d+\.\d+)", LOCK)[1]
TAG = f"{LOCKED_RAY}-py{LOCKED_PYTHON.replace('.', '')}"
IMAGE = f"your-registry/tubeflow:ray-{TAG}"
DOCKERFILE = PROJECT / "cluster" / "Dockerfile"
LARGEST_UPLOAD = 5_000_000


def instructions(word: str) -> list[str]:
    joined = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    return re.findall(rf"^{word} +(.*)$", joined, re.MULTILINE)


def test_the_image_has_the_locked_versions() -> None:
    assert instructions("FROM") == [f"rayproject/ray:{TAG}"]
    assert IMAGE in DOCKERFILE.read_text(encoding="utf-8")
    assert any("-r requirements.lock" in command for command in instructions("RUN"))


def test_the_image_copies_what_there_is() -> None:
    """All packages and nothing that is not there, or that its ignore file keeps from the build."""
    copied = [
        word for line in instructions("COPY") for word in line.split()[:-1] if not word.startswith("--")
    ]
    rules = (PROJECT / "cluster" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    ignored = pathspec.PathSpec.from_lines("gitignore", rules)
    for name in copied:
        path = PROJECT / name
        files = [path] if path.is_file() else list(path.rglob("*.py"))
        assert files, name
        assert not [f for f in files if ignored.match_file(str(f.relative_to(PROJECT)))], name
    assert {"pipelines", "stages", "cluster", "configs", "requirements.lock"} <= set(copied)
    assert ignored.match_file("tests/cli.py") and ignored.match_file(".venv/bin/python")


def test_the_image_runs_as_a_user_and_finds_the_project() -> None:
    assert instructions("USER")[-1] == "ray"
    assert instructions("WORKDIR") == ["/opt/tubeflow"]
    [variables] = instructions("ENV")
    assert {"PYTHONPATH=/opt/tubeflow", "RAY_AUTH_MODE=token"} <= set(variables.split())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git has, with the working tree's content."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((PROJECT / name).read_bytes())
    return folder


def test_little_is_uploaded(checkout: Path, tmp_path: Path) -> None:
    """Ray's own packaging of a checkout with everything in it that work leaves behind."""
    from ray._private.runtime_env.packaging import create_package

    for name in (
        ".venv/lib/x.py",
        "quickstart/store/a.tar",
        "store/b.tar",
        "data/c.mp4",
        "quality/d.json",
        "e.pt",
    ):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes(b"x" * 1_000_000)
    create_package(str(checkout), tmp_path / "package.zip", include_gitignore=True)
    assert (tmp_path / "package.zip").stat().st_size < LARGEST_UPLOAD
    names = zipfile.ZipFile(tmp_path / "package.zip").namelist()
    assert (
        sum(info.file_size for info in zipfile.ZipFile(tmp_path / "package.zip").infolist()) < LARGEST_UPLOAD
    )
    tops = {name.split("/")[0] for name in names}
    assert {"pipelines", "stages", "cluster", "configs"} <= tops
    assert not tops & {
        "tests",
        "docs",
        "benchmarks",
        ".git",
        ".venv",
        "quickstart",
        "store",
        "data",
        "quality",
        "e.pt",
    }
    assert {"pipelines/run.py", "configs/recipes/solv_ytvis.yaml", "requirements.lock"} <= set(names)
