"""Something-Something-v2: lists in their forms, and videos that are not where a list says."""

import json

import pytest

from stages.catalog.errors import CatalogError
from stages.catalog.listing import list_items
from stages.catalog.spec import DataSpec
from stages.outcome import Done, Rejected
from tests.layouts import make_ssv2
from tests.stages.catalog.test_stage import run

FOLDER = "20bn-something-something-v2"


def spec(**settings):
    return DataSpec(kind="ssv2", **settings)


def uris(root, **settings):
    return [row["uri"] for row in list_items(spec(**settings), str(root))]


@pytest.fixture
def root(tmp_path):
    return make_ssv2(tmp_path / "SSV2", train=["1", "2"], validation=["3"])


def listed(root, text, name="train.csv"):
    (root / "something-something-v2-train.json").unlink(missing_ok=True)
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(text)
    return uris(root, split="train")


def test_the_official_lists(root):
    one, two, three = (f"{FOLDER}/{n}.webm" for n in "123")
    (root / FOLDER / "99.webm").write_bytes(b"no list names it")
    assert uris(root) == uris(root, split="train+validation") == [one, two, three]
    assert uris(root, split="train") == [one, two]
    (root / "something-something-v2-train.json").unlink()
    assert uris(root) == [three]
    (root / "labels").mkdir()
    (root / "labels/train.json").write_text(json.dumps([{"id": 2, "label": "x"}]))
    assert uris(root) == [two, three]


@pytest.mark.parametrize(
    "entry",
    [f"{FOLDER}/1.webm", f"./{FOLDER}/1.webm", "/elsewhere/ssv2/1.mp4", "../1.webm", "moved to/1.mp4", "1"],
)
def test_text_lists(root, entry):
    """A path that holds, or else whatever is below the root with that id."""
    assert listed(root, f"\n{entry} 137\n", "annotations/train.txt") == [f"{FOLDER}/1.webm"]


def test_an_absolute_path_below_the_root(root):
    assert listed(root, f"{root}/{FOLDER}/2.webm\t0\n") == [f"{FOLDER}/2.webm"]


def test_missing_videos_are_named_and_rejected(tmp_path, root):
    (root / FOLDER / "2.webm").unlink()
    outcomes, rows = run(tmp_path, spec(split="train"), root)
    assert [(row["uri"], row["frames"], row["truth"]) for row in rows] == [(f"{FOLDER}/1.webm", 4, None)]
    assert rows[0]["fps"] == pytest.approx(10)
    (lost,) = [o for o in outcomes if not isinstance(o, Done)]
    assert isinstance(lost, Rejected) and lost.error_class == "unreadable"
    assert lost.message.startswith(f"{FOLDER}/2.webm: a list names this video and it is not there")
    assert listed(root, "videos/7.mp4 0\n/far/8.mp4 0\n") == ["8.mp4", "videos/7.mp4"]


def refused(root, **settings):
    with pytest.raises(CatalogError) as caught:
        uris(root, **settings)
    return str(caught.value)


def test_what_is_refused_says_where(root):
    assert "it has train, validation, test, all" in refused(root, split="val")
    assert "no list of the split test (looked for something-something-v2-test.json," in refused(
        root, split="test"
    )
    with pytest.raises(CatalogError, match="train.csv under data.root=.*: line 2 is 'b.mp4' and not"):
        listed(root, "a.mp4 0\nb.mp4\n")
    (root / "train.csv").write_text(" \n")
    assert "train.csv name no video" in refused(root, split="train")
    (root / "train.csv").write_text("1 0\n")
    (root / "1.mp4").write_bytes((root / FOLDER / "1.webm").read_bytes())
    which = f"train.csv, line 1, under data.root={root} names '1', which may be "
    assert which in refused(root, split="train") and f"{FOLDER}/1.webm" in refused(root, split="train")
    for content, says in (
        ("{", "is no JSON"),
        ("{}", "no list of videos"),
        ('[{"idd": 1}]', "entry 0 has no 'id'"),
    ):
        (root / "something-something-v2-train.json").write_text(content)
        assert says in refused(root, split="train")
