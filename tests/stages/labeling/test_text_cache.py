import pytest
import torch

from stages.artifacts.atomic import StoreError
from stages.labeling.text_cache import TextFeatures, cached_text_features, text_key

IDENTITY = {"model": "m", "weights": "sha256:0", "pretrained": ""}
PROMPTS, NAMES = ["a cat", "a dog"], ["cat", "dog"]


def never(prompts):
    raise AssertionError("the text encoder ran")


def test_the_encoder_runs_once_per_vocabulary(tmp_path):
    calls = []

    def encode(prompts):
        calls.append(list(prompts))
        return TextFeatures(torch.randn(len(prompts), 4), ("a dog",))

    folder = tmp_path / "new" / "texts"
    made = cached_text_features(folder, IDENTITY, PROMPTS, NAMES, encode)
    again = cached_text_features(folder, dict(reversed(IDENTITY.items())), PROMPTS, NAMES, never)
    assert torch.equal(made.features, again.features) and again.truncated == ("a dog",)
    assert calls == [PROMPTS]
    assert [path.suffix for path in folder.iterdir()] == [".safetensors"]


def test_damaged_files_are_made_anew(tmp_path):
    good = TextFeatures(torch.ones(2, 3))
    cached_text_features(tmp_path, IDENTITY, PROMPTS, NAMES, lambda _: good)
    (file,) = tmp_path.iterdir()
    for content in (b"", b"junk", file.read_bytes()[:-3]):
        file.write_bytes(content)
        found = cached_text_features(tmp_path, IDENTITY, PROMPTS, NAMES, lambda _: good)
        assert torch.equal(found.features, good.features)
    assert torch.equal(
        cached_text_features(tmp_path, IDENTITY, PROMPTS, NAMES, never).features, good.features
    )


def test_everything_that_decides_is_in_the_key():
    key = text_key(IDENTITY, PROMPTS, NAMES)
    others = [
        text_key(IDENTITY | {"weights": "sha256:1"}, PROMPTS, NAMES),
        text_key(IDENTITY, PROMPTS[::-1], NAMES[::-1]),
        text_key(IDENTITY, ["cat", "dog"], NAMES),
        text_key(IDENTITY, PROMPTS, ["cat", "hound"]),
    ]
    assert len({key, *others}) == 5


def test_a_folder_that_cant_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((StoreError, OSError)):
        cached_text_features(
            tmp_path / "file", IDENTITY, PROMPTS, NAMES, lambda _: TextFeatures(torch.ones(2, 3))
        )
