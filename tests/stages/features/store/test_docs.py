"""The examples of docs/feature_store.md run as they stand there, one after the other."""

import re
from pathlib import Path

import pytest

from tests.outside import PROJECT
from tests.stages.features.store.making import make_store

PAGE = PROJECT / "docs" / "feature_store.md"


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves them to the collector
def test_the_examples_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes = {"tokens": (64, 96), "keys": (64, 96), "cls": (96,)}
    shards = [{"dog": 6, "cat": 7}, {"a-horse": 5}]
    names = {"path": make_store(tmp_path / "features-1a2b3c4d", shards, shapes, ("base", "flip")).root}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, example {number + 1}", "exec"), names)
    assert "3 videos" in capsys.readouterr().out
    assert (names["video"], names["T"], names["clip"].shape) == ("a-horse", 5, (5, 96))
    assert names["features"].shape == (1, 5, 64, 96)
    assert names["mask"].all()
    assert names["state"] == {"seed": 0, "epoch": 1, "step": 0}
    assert len(names["arrays"]) == 2 * 5  # both views of the last shard's video
