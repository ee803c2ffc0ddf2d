"""Exports read back with pycocotools and PIL say what the label maps say."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco

from stages.catalog.davis import read_mask
from stages.discovery.contract import Segmentation
from stages.errors import SettingsError
from stages.sprites.palette import mask_palette
from stages.tubes.export import export_pngs, export_youtube_vis
from stages.tubes.reader import TubeStore
from tests.named import VOCABULARY
from tests.stages.tubes.making import SIZE, make_store, random_segmentation, squares


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    silent = squares(2)
    silent.active[0] = False
    videos = {"a": random_segmentation(0), "b": random_segmentation(3, frames=4), "c": silent}
    videos["c"] = Segmentation({"decoder": silent.masks["cluster"]}, silent.active, silent.identity, None)
    return TubeStore(make_store(tmp_path_factory.mktemp("s") / "t", videos).root)


def test_youtube_vis_round_trip(store, tmp_path):
    results_path, data_path = export_youtube_vis(store, "decoder", tmp_path / "out")
    results, data = json.loads(results_path.read_text()), json.loads(data_path.read_text())
    assert data["categories"] == [{"id": 1, "name": "object", "supercategory": "object"}]
    assert [video["id"] for video in data["videos"]] == [1, 2, 3]
    assert [annotation["id"] for annotation in data["annotations"]] == list(range(1, len(results) + 1))
    maps = {
        entry["id"]: store.label_map(video, "decoder")
        for entry, video in zip(data["videos"], store.videos(), strict=True)
    }
    for entry, video in zip(data["videos"], store.videos(), strict=True):
        assert (entry["height"], entry["width"]) == SIZE and entry["length"] == len(entry["file_names"])
        assert entry["file_names"][0] == f"{video}/00003.jpg"
    again = {number: np.full_like(labels, -1) for number, labels in maps.items()}
    for result, annotation in zip(results, data["annotations"], strict=True):
        assert result.keys() == {"video_id", "category_id", "score", "segmentations"}
        assert result["segmentations"] == annotation["segmentations"] and 0 < result["score"] <= 1
        labels = maps[annotation["video_id"]]
        tubes = set()
        for t, run in enumerate(annotation["segmentations"]):
            box, area = annotation["bboxes"][t], annotation["areas"][t]
            if run is None:
                assert box is area is None
                continue
            mask = coco.decode(run).astype(bool)
            assert coco.area(run) == area == mask.sum() and coco.toBbox(run).tolist() == box
            tubes |= set(labels[t][mask].tolist())
            again[annotation["video_id"]][t][mask] = labels[t][mask]
        assert len(tubes) == 1, "one annotation, one tube"
        assert len(annotation["segmentations"]) == annotation["length"] == len(labels)
    assert all(np.array_equal(again[number], labels) for number, labels in maps.items())


def test_named_tubes_have_the_categories_and_scores_of_their_names(named, tmp_path):
    named = TubeStore(named)
    results, data = (
        json.loads(p.read_text())
        for p in export_youtube_vis(named, "named", tmp_path / "all", names=VOCABULARY)
    )
    categories = {c["id"]: c["name"] for c in data["categories"]}
    assert categories == {0: "unnamed", **dict(enumerate(VOCABULARY, start=1))}
    tubes = [(v["id"], t) for v, name in zip(data["videos"], named.videos(), strict=True)
             for t in named.tubes(name, "named").to_pylist()]  # fmt: skip
    for result, (video, tube) in zip(results, tubes, strict=True):
        assert (result["video_id"], categories[result["category_id"]]) == (video, tube["label"])
        expected = tube["score"] if tube["label"] == "unnamed" else tube["label_score"]
        assert result["score"] == pytest.approx(expected, rel=1e-6)
    few, _ = export_youtube_vis(named, "named", tmp_path / "few", unnamed=False, names=VOCABULARY)
    assert json.loads(few.read_text()) == [r for r in results if r["category_id"] != 0]
    assert 0 < len(json.loads(few.read_text())) < len(results)


def test_files_do_not_depend_on_the_run(store, tmp_path):
    first, second = (export_youtube_vis(store, "decoder", tmp_path / name) for name in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_a_part_of_the_tubes(store, tmp_path):
    results, data = export_youtube_vis(store, "decoder", tmp_path, ["b"], {"b": [0]})
    assert [v["file_names"][0] for v in json.loads(data.read_text())["videos"]] == ["b/00003.jpg"]
    tubes = store.tubes("b", "decoder")["tube"].to_pylist()
    assert 0 in tubes and len(json.loads(results.read_text())) == len(tubes) - 1
    results, data = export_youtube_vis(store, "decoder", tmp_path, [])
    assert json.loads(results.read_text()) == [] and json.loads(data.read_text())["annotations"] == []
    with pytest.raises(KeyError, match="no video 'x'"):
        export_youtube_vis(store, "decoder", tmp_path, ["x"])


def test_pngs_round_trip(store, tmp_path):
    folders = export_pngs(store, "decoder", tmp_path, without={"b": [1]})
    assert [folder.name for folder in folders] == ["a", "b", "c"]
    for folder in folders:
        labels = store.label_map(folder.name, "decoder")
        files = sorted(folder.iterdir())
        assert [f.name for f in files] == [f"{i:05d}.png" for i in store.frames(folder.name).tolist()]
        for file, expected in zip(files, labels, strict=True):
            ids, void = read_mask(file, "2017")
            wanted = np.where(expected == 1, -1, expected) if folder.name == "b" else expected
            assert np.array_equal(ids, wanted + 1) and not void.any()
            with Image.open(file) as image:
                assert image.mode == "P"
                colours = np.asarray(image.convert("RGB"))
            assert np.array_equal(colours, mask_palette()[ids])


def test_more_tubes_than_a_png_can_show(tmp_path):
    found = squares(1)
    found.identity[0] = torch.tensor([0, 253])
    assert export_pngs(TubeStore(make_store(tmp_path / "s", {"a": found}).root), "cluster", tmp_path / "fits")
    found.identity[0] = torch.tensor([0, 254])
    many = TubeStore(make_store(tmp_path / "t", {"a": found}).root)
    with pytest.raises(SettingsError, match="video a has cluster tubes up to number 254.*YouTube-VIS"):
        export_pngs(many, "cluster", tmp_path / "out")
    assert not (tmp_path / "out").exists()
