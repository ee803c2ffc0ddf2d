"""README and docs do what they say: their Python and their commands run, and give the output shown there.

A ```python block whose first line is ``# some/path.py`` becomes that file; any other is executed, in the
order of the page, and what it prints must be the comment lines at its end. In a ```console block each
``$ ... pipelines/run.py ...`` is run by a shell and each line shown under it must be in its output
(``make quickstart``, which takes long, by a test of its own);
``$ echo $?`` says which exit code it has (0 where nothing is said). Sizes, digests, run ids and
machine's paths count as equal. Every page gets a folder of its own with four good videos and three bad ones.
`docs/feature_store.md` has a test beside the store's.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cli import environment
from tests.media import make_video
from tests.outside import PROJECT

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
RUN_HERE = [page for page in PAGES if page.name != "feature_store.md"]
FENCE = re.compile(r"^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
QUICKSTART = (
    "python pipelines/run.py quickstart --set data.root=quickstart/videos --set store=quickstart/store"
)


@dataclass
class Command:
    """A command of a page, the lines shown under it, and the exit code it should have."""

    text: str
    shown: list[str] = field(default_factory=list)
    code: int = 0


def commands(block: str) -> list[Command]:
    found: list[Command] = []
    asks_code = False
    for line in block.splitlines():
        if line == "$ echo $?":
            asks_code = True
        elif line.startswith("$ "):
            found.append(Command(line[2:]))
        elif asks_code:
            found[-1].code, asks_code = int(line), False
        elif line.strip() and line.strip() != "...":
            found[-1].shown.append(line)
    return found


def masked(text: str) -> str:
    """``text`` without what differs between two runs of the same command."""
    text = re.sub(r"\d[\d,.]* ([KMGTP]i)?B\b", "#B", text)
    text = re.sub(r"\d{8}-\d{6}-(\w+)-[0-9a-f]{4}", r"\1-run", text)
    text = re.sub(r"\b[0-9a-f]{8,}\b", "#", text)
    text = re.sub(r'("bytes": |at byte |bytes |last sign of life )[\d,]+', r"\1#", text)
    text = re.sub(r"\d+ workers of (\d+) threads, \d+ CPUs", r"# workers of \1 threads, # CPUs", text)
    return " ".join(text.split())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "videos"
    for seed, name in enumerate(["park", "street", "day 2/kitchen", "day 2/garden"]):
        make_video(folder / f"{name}.mp4", 60, (180, 320), 15, seed=seed)
    whole = (folder / "park.mp4").read_bytes()
    (folder / "empty.mp4").touch()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    (folder / "notes.mp4").write_text("not a video\n" * 50)
    return folder


@pytest.fixture
def place(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like the project's root to the commands of a page."""
    shutil.copytree(corpus, tmp_path / "videos")
    (tmp_path / "pipelines").symlink_to(PROJECT / "pipelines")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shell(command: Command, place: Path) -> str:
    """Run a command as the page has it, except that nothing is started on Ray: the bytes are the same."""
    text = command.text.replace("make quickstart", QUICKSTART)
    actions = ("--plan", "--status", "--verify", "--explain", "--gc", "--du", "--runner")
    if not any(flag in text for flag in actions) and " --" in text:
        text += " --runner local"
    python = f'python() {{ {shlex.quote(sys.executable)} "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-c", python + text],
        cwd=place,
        env=environment(HOME=str(place), PYTHONPATH=""),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    output = done.stdout + "\n" + done.stderr
    assert done.returncode == command.code, f"{text}\nexit {done.returncode}\n{output}"
    return output.replace(str(place), "/home/you")


def check_console(block: str, place: Path) -> None:
    for command in commands(block):
        if "pipelines/run.py" in command.text:
            check_command(command, place)


def check_command(command: Command, place: Path) -> None:
    output = shell(command, place)
    lines = {masked(line) for line in output.splitlines()}
    missing = [line for line in command.shown if masked(line) not in lines]
    assert not missing, f"$ {command.text}\ndoes not print\n" + "\n".join(missing) + f"\nbut\n{output}"


def check_python(block: str, names: dict[str, object]) -> None:
    lines = block.rstrip().splitlines()
    path = re.fullmatch(r"# (\S+\.py)", lines[0])
    if path is not None:
        Path(path[1]).parent.mkdir(parents=True, exist_ok=True)
        Path(path[1]).write_text(block)
        return
    shown: list[str] = []
    while lines and lines[-1].startswith("# "):
        shown.insert(0, lines.pop()[2:])
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, "page", "exec"), names)
    assert [masked(line) for line in printed.getvalue().splitlines()] == [masked(line) for line in shown]


@pytest.mark.parametrize("page", RUN_HERE, ids=lambda page: page.name)
def test_examples(page: Path, place: Path) -> None:
    names: dict[str, object] = {"Path": Path}
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "console":
            check_console(block, place)
        else:
            check_python(block, names)


@pytest.mark.long
def test_the_quickstart_gives_the_figures_shown(place: Path) -> None:
    """Its trainings take two and a half minutes."""
    blocks = FENCE.findall((PROJECT / "README.md").read_text(encoding="utf-8"))
    shown = [command for language, block in blocks if language == "console" for command in commands(block)]
    (quickstart,) = (command for command in shown if command.text == "make quickstart")
    check_command(quickstart, place)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    gone = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not gone


def test_every_page_is_reached_from_the_readme() -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"docs/{page.name}" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_path_of_a_machine(page: Path) -> None:
    found = re.findall(
        r"(?<![\w.])/(?:work|tmp|root|mnt|home/(?!you\b))[\w/.-]*", page.read_text(encoding="utf-8")
    )
    assert not found and os.fspath(PROJECT) not in page.read_text(encoding="utf-8")
