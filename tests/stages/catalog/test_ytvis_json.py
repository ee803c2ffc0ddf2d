"""The index of a JSON file: found where it lies, and what is missing is named."""

import json
import tracemalloc

import pytest

from stages.catalog import ytvis_json
from stages.catalog.ytvis_json import JsonFaultError, read_index
from tests.layouts import ytvis_json as content


def index(tmp_path, data, **options):
    path = tmp_path / "train.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data, **options), encoding="utf-8")
    return read_index(str(path), "train.json")


@pytest.mark.parametrize("options", [{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])
def test_annotations_are_found_in_any_form_of_the_file(tmp_path, options):
    data = content({"0043f083b5": 3, "vidéo": 2})
    found = index(tmp_path, data, **options)
    assert [(v.number, v.name, v.files) for v in found.videos] == [
        (1, "0043f083b5", ("00000.jpg", "00005.jpg", "00010.jpg")),
        (2, "vidéo", ("00000.jpg", "00005.jpg")),
    ]
    assert found.videos[0].size == (32, 48)
    for number in (1, 2):
        wanted = sorted((a for a in data["annotations"] if a["video_id"] == number), key=lambda a: a["id"])
        assert found.annotations(number) == wanted and len(wanted) == 2
    assert found.annotations(3) == [] and found.orphans() == []
    assert found.video(2).name == "vidéo"
    with pytest.raises(JsonFaultError, match=r"train\.json: videos has no video 3"):
        found.video(3)


@pytest.mark.parametrize("empty", [None, [], "absent"])
def test_files_without_annotations(tmp_path, empty):
    data = content({"a": 2})
    data["annotations"] = empty
    if empty == "absent":
        del data["annotations"]
    assert index(tmp_path, data).spans == {}


def test_annotations_of_no_video(tmp_path):
    data = content({"a": 2})
    data["annotations"][0]["video_id"] = 77
    assert index(tmp_path, data).orphans() == [77]


def test_it_is_scanned_once(tmp_path, monkeypatch):
    data = content({"a": 2})
    first = index(tmp_path, data)
    with monkeypatch.context() as patch:
        patch.setattr(ytvis_json, "_Scan", None)
        assert read_index(str(tmp_path / "train.json"), "train.json") is first
    data["videos"] += content({"b": 2})["videos"]
    data["videos"][1]["id"] = 2
    assert len(index(tmp_path, data).videos) == 2


def test_memory(tmp_path):
    """The scan takes the size of the file; what stays is a small part of it."""
    data = content({f"video{i}": 20 for i in range(40)})
    path = tmp_path / "big.json"
    path.write_text(json.dumps(data))
    size = path.stat().st_size
    del data
    tracemalloc.start()
    kept = read_index(str(path), "big.json")
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept.videos) == 40
    assert now < 0.4 * size and peak < 2 * size


def without(key, of="videos"):
    data = content({"a": 2})
    del data[of][0][key]
    return data


def changed(of, **values):
    data = content({"a": 2, "b": 2})
    data[of][1] |= values
    return data


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("", "is no JSON from byte 0"),
        ('{"videos": [}', "is no JSON from byte 12"),
        ('{"videos": [{"id": 1}', "no key 'height'|is no JSON"),
        (json.dumps(content({"a": 2}))[:-300], "is no JSON"),
        ("[]", "is no JSON from byte 0"),
        ("{}", "no key 'videos'"),
        ('{"videos": 3}', "'videos' is no list"),
        (without("id"), r"videos\[0\] has no key 'id'"),
        (without("height"), r"videos\[0\] has no key 'height'"),
        (without("file_names"), r"videos\[0\] has no key 'file_names'"),
        (without("id", "annotations"), r"annotations\[0\] has no key 'id'"),
        (without("video_id", "annotations"), r"annotations\[0\] has no key 'video_id'"),
        (changed("annotations", video_id="x"), r"annotations\[1\] has 'video_id'='x'"),
        (changed("videos", file_names=[]), r"videos\[1\] has no list of names"),
        (changed("videos", file_names=["b/1.jpg", "c/2.jpg"]), r"videos\[1\].*of one video"),
        (changed("videos", file_names=["../b/1.jpg"]), r"videos\[1\].*of one video"),
        (changed("videos", file_names=["1.jpg"]), r"videos\[1\].*of one video"),
        (changed("videos", id=1), "lists 1 twice"),
        (changed("videos", file_names=["a/1.jpg"]), "lists a twice"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, data, says):
    with pytest.raises(JsonFaultError, match=rf"^train\.json: .*({says})"):
        index(tmp_path, data)
