"""The example in docs/add_method.md, as a reader would save it: it trains and segments."""

import re
import sys

import pytest
import torch

from stages.discovery.contract import FeatureShape, Progress
from tests.outside import PROJECT


@pytest.fixture
def example(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (PROJECT / "docs" / "add_method.md").read_text(), re.S)
    dedented = [re.sub(r"^   ", "", block, flags=re.M) for block in blocks]
    for name, text in zip(("mean_declaration", "mean_implementation"), dedented, strict=True):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("mean_declaration", "mean_implementation"):
        sys.modules.pop(name, None)


class Video:
    video, frames, shape = "v", 5, FeatureShape(2, 3, 4)

    def read(self, start=0, stop=None, facet="tokens", view="base"):
        return torch.randn(5, 6, 4, generator=torch.Generator().manual_seed(0))[start:stop]


def test_the_example_trains_and_segments(example):
    from mean_declaration import MeanMethod

    from stages.discovery.contract import Batch

    method = MeanMethod()
    work = method.implement()
    model = work.model("mean", Video.shape, {})
    optimiser = work.optimiser("mean", model, 0.1)
    tokens = Video().read()[None]
    batch = Batch({("base", "tokens"): tokens}, torch.ones(1, 5, dtype=torch.bool), Video.shape)
    losses = []
    for step in range(20):
        loss = model.training_step(batch, Progress(step, 20, 0, 1), torch.Generator())["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    with torch.no_grad():
        found = work.segment({"mean": model}, Video())
    assert found.masks["cluster"].shape == (5, 2, 2, 3)
    assert (found.masks["cluster"].sum(1) == 1).all()
    assert "threshold" not in method.identity(training=True)["options"]
    assert "threshold" in method.identity()["options"]
