from stages.metrics.all_protocols import ALL_PROTOCOLS, help_of, needs_masks, needs_words
from stages.metrics.box_protocols import BOX_PROTOCOLS
from stages.metrics.protocols import PROTOCOLS


def test_one_place_knows_all_names():
    assert len(ALL_PROTOCOLS) == len(PROTOCOLS) + len(BOX_PROTOCOLS)
    assert help_of("corloc@vol") == BOX_PROTOCOLS["corloc@vol"].help != help_of("mbo@video") != ""
    assert help_of("gone@vol") == ""


def test_what_a_protocol_needs():
    assert needs_masks("mbo@video") and needs_masks("ap@ytvis-agnostic")
    assert not needs_masks("map50@vol") and not needs_masks("word@sprites")
    assert [name for name in ALL_PROTOCOLS if needs_words(name)] == [
        "word@sprites", "word-chance@sprites", "word-majority@sprites",
    ]  # fmt: skip
