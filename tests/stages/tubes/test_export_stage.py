"""The export stage's own refusals; what it writes is tested with stages.tubes.export and end to end."""

import pytest

from stages.errors import SettingsError
from stages.tubes.export_stage import FORMATS, ExportStage


@pytest.mark.parametrize("form", FORMATS)
def test_name_is_the_format(form):
    assert ExportStage(form).name == form


def test_unknown_formats_are_refused():
    with pytest.raises(SettingsError, match=r"tubes\.export=coco: must be none, ytvis or png"):
        ExportStage("coco")


def test_masks_are_part_of_the_identity():
    assert ExportStage("png").fingerprint([]) != ExportStage("png", "attention").fingerprint([])
