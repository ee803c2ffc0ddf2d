"""XML files of boxes: what they say, and what is refused."""

import pytest

from stages.catalog.box_xml import XmlFaultError, XmlObject, parse_boxes
from tests.layouts import box_xml

ONE = box_xml([("n02084071", 3, (1, 2, 30, 40))])

BOMB = """<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>
<annotation><folder>&b;</folder></annotation>"""
EXTERNAL = '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>'


def test_a_file():
    found = parse_boxes(ONE.encode())
    assert found.size == (32, 48)
    assert found.objects == (XmlObject("n02084071", 3, (1.0, 2.0, 30.0, 40.0)),)
    assert parse_boxes(box_xml([]).encode()).objects == ()
    assert parse_boxes(ONE.replace("<trackid>3</trackid>", "").encode()).objects[0].track == -1
    assert parse_boxes(ONE.encode("utf-16")).objects == found.objects


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (BOMB, "document type"),
        (EXTERNAL, "document type"),
        ("", "no XML from line 1"),
        (ONE[:60], "no XML from line 1"),
        ("<annotation/>", "no <size/height> in <annotation>"),
        (ONE.replace("<height>32<", "<height>0<"), "0 x 48 pixels"),
        (ONE.replace("<name>n02084071</name>", ""), "no <name> in <object>"),
        (ONE.replace("<xmin>1<", "<xmin>x<"), "<bndbox/xmin> x in <object>.*no number"),
        (ONE.replace("<xmin>1<", "<xmin>inf<"), "no number"),
        (ONE.replace("<xmax>30<", "<xmax>0<"), "ends before it begins"),
        (ONE.replace("<trackid>3<", "<trackid>3.5<"), "no whole number"),
    ],
)
def test_what_is_refused(content, says):
    with pytest.raises(XmlFaultError, match=says):
        parse_boxes(content.encode())
