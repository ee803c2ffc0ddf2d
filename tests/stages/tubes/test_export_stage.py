"""Which tubes the export stage takes; what it writes is tested with stages.tubes.export and end to end."""

import json

import pytest

from stages.errors import SettingsError
from stages.stage import WorkContext
from stages.tubes.export_stage import FORMATS, ExportStage


@pytest.mark.parametrize("form", FORMATS)
def test_name_is_the_format(form):
    assert ExportStage(form).name == form


def test_unknown_formats_are_refused():
    with pytest.raises(SettingsError, match=r"tubes\.export=gif: must be none, ytvis, coco or png"):
        ExportStage("gif")


def test_masks_are_part_of_the_identity():
    assert ExportStage("png").fingerprint([]) != ExportStage("png", "attention").fingerprint([])
    assert ExportStage("coco").fingerprint([]) != ExportStage("coco", unnamed=False).fingerprint([])


@pytest.mark.parametrize("form", ["ytvis", "coco"])
def test_named_tubes_come_before_plain_ones(plain, named, tmp_path, form):
    inputs = {"tubes": str(plain), "named": str(named)}
    ExportStage(form).make((), tmp_path, WorkContext("", tmp_path, inputs=inputs))
    names = [c["name"] for c in json.loads((tmp_path / "instances.json").read_text())["categories"]]
    assert names[:2] == ["unnamed", "zebra"]
    with pytest.raises(SettingsError, match="has masks of the kinds named, decoder"):
        ExportStage(form, "soft").make((), tmp_path, WorkContext("", tmp_path, inputs=inputs))
