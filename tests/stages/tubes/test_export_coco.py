"""The COCO export loaded with pycocotools says what the tubes say."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from stages.tubes.export_coco import export_coco
from stages.tubes.reader import TubeStore
from tests.named import VOCABULARY
from tests.stages.tubes.making import make_store, random_segmentation


@pytest.fixture(scope="module")
def exported(named, tmp_path_factory):
    return export_coco(TubeStore(named), "named", tmp_path_factory.mktemp("coco"), names=VOCABULARY)


def test_pycocotools_loads_what_the_tubes_say(named, exported):
    store, loaded = TubeStore(named), COCO(str(exported[1]))
    assert [c["name"] for c in loaded.loadCats(loaded.getCatIds())] == ["unnamed", *VOCABULARY]
    assert loaded.getCatIds() == [0, 1, 2, 3, 4], "unnamed is 0, names are in the vocabulary's order"
    videos = {v["id"]: v["name"] for v in loaded.dataset["videos"]}
    assert list(videos.values()) == store.videos()
    assert len(loaded.getImgIds()) == sum(len(store.frames(v)) for v in store.videos())
    maps = {video: store.label_map(video, "named") for video in store.videos()}
    tubes = {(v, t["tube"]): t for v in store.videos() for t in store.tubes(v, "named").to_pylist()}
    tracks = {}
    for annotation in loaded.loadAnns(loaded.getAnnIds()):
        image = loaded.loadImgs(annotation["image_id"])[0]
        video, at = videos[image["video_id"]], image["frame_index"]
        assert image["file_name"] == f"{video}/{store.frames(video)[at]:05d}.jpg"
        mask = loaded.annToMask(annotation).astype(bool)
        assert mask.sum() == annotation["area"]
        (tube,) = np.unique(maps[video][at][mask]).tolist()
        assert tracks.setdefault(annotation["track_id"], (video, tube)) == (video, tube)
        name = loaded.loadCats(annotation["category_id"])[0]["name"]
        assert name == tubes[video, tube]["label"]
        if name != "unnamed":
            assert annotation["score"] == tubes[video, tube]["label_score"]
        maps[video][at][mask] = -1
    assert sorted(tracks.values()) == sorted(tubes)
    assert all((labels == -1).all() for labels in maps.values()), "every pixel of every tube is there"


def test_detections_are_scored_by_pycocotools_as_perfect(exported):
    """Against themselves: names, masks and scores are understood."""
    truth = COCO(str(exported[1]))
    scored = COCOeval(truth, truth.loadRes(str(exported[0])), "segm")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    assert scored.stats[0] == pytest.approx(1)


def test_unnamed_tubes_can_be_left_out(named, tmp_path):
    loaded = COCO(str(export_coco(TubeStore(named), "named", tmp_path, unnamed=False, names=VOCABULARY)[1]))
    assert loaded.getCatIds() == [1, 2, 3, 4]
    assert {a["category_id"] for a in loaded.anns.values()} <= {1, 2, 3}


def test_tubes_that_nothing_has_named_are_objects(tmp_path):
    store = TubeStore(make_store(tmp_path / "t", {"a": random_segmentation(0)}).root)
    results, data_set = export_coco(store, "decoder", tmp_path / "out")
    assert json.loads(data_set.read_text())["categories"] == [
        {"id": 1, "name": "object", "supercategory": "object"}
    ]
    assert {entry["category_id"] for entry in json.loads(results.read_text())} == {1}
    assert json.loads(export_coco(store, "decoder", tmp_path / "none", [])[0].read_text()) == []
