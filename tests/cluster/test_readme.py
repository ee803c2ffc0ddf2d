"""cluster/README.md: its commands, links and quotations exist. `test_job` runs the job that it shows."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.cluster.published import options_of, ray_command
from tests.outside import PROJECT

PAGE = (PROJECT / "cluster" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
LINES = [line.removeprefix("$ ") for block in BLOCKS for line in block.splitlines()]
RAY = sorted({line.split(" && ")[0] for line in LINES if line.startswith("ray ") and " -- " not in line})


def small_yaml() -> str:
    [found] = [block for block in BLOCKS if block.startswith("# small.yaml")]
    return found


def shown() -> list[list[str]]:
    """The jobs shown with their output: each the command and its lines, without those that were shortened."""
    jobs = [block.split("$ ray job submit ", 1)[1] for block in BLOCKS if "$ ray job submit " in block]
    return [[line for line in job.splitlines() if "…" not in line] for job in jobs]


@pytest.mark.parametrize(
    "line", [*RAY, *(f"ray job submit {job[0].split(' -- ')[0]}" for job in shown()[:1])]
)
def test_rays_commands_exist(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    names = words[:2] if words[0] == "job" else words[:1]
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given <= options_of(ray_command(*names))
    assert all((PROJECT / word).is_file() for word in words if word.endswith(".yaml"))


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert targets and all((PROJECT / "cluster" / target).resolve().is_file() for target in targets)
    applied = re.findall(r"kubectl \w+ -f (\S+)", PAGE)
    assert applied and all((PROJECT / path).is_file() for path in applied)
    anchors = {
        f"#{title.lower().replace(' ', '-')}" for title in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\((#[^)]+)\)", PAGE)) <= anchors


def test_troubleshooting_quotes_ours() -> None:
    """Sentences in the table that we say are said in the code."""
    code = " ".join(path.read_text(encoding="utf-8") for path in (PROJECT / "cluster").glob("*.py"))
    code += (PROJECT / "pipelines" / "graph.py").read_text(encoding="utf-8")
    for sentence in ("ray can't be imported by", "doesn't see", "shard owners", "is relative"):
        assert sentence in code and sentence in PAGE, sentence
