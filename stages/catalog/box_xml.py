"""The XML files of ImageNet: boxes of one frame, as PASCAL VOC writes them.

Files come from elsewhere, so a document type declaration, and with it every entity, is refused: a small file
could otherwise grow without bound or read other files.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

_SIDES = ("xmin", "ymin", "xmax", "ymax")


class XmlFaultError(ValueError):
    """The file is not what it should be; what is wrong with it, and what to do."""


@dataclass(frozen=True)
class XmlObject:
    """One box.

    Attributes:
        name: of its class; in ImageNet a WordNet id.
        track: number of the object in the video; -1 where the file gives none.
        box: (xmin, ymin, xmax, ymax) in pixels from 0, corners included, as the file says.
    """

    name: str
    track: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class XmlBoxes:
    """One file: the frame's (height, width) in pixels, and its boxes in the order of the file."""

    size: tuple[int, int]
    objects: tuple[XmlObject, ...]


def parse_boxes(data: bytes) -> XmlBoxes:
    """The content of one file.

    Raises:
        XmlFaultError: it is no XML, declares a document type, or lacks an element; says which.
    """
    root = _parse(data)
    size = _whole(root, "size/height"), _whole(root, "size/width")
    if min(size) < 1:
        raise XmlFaultError(f"says that the frame has {size[0]} x {size[1]} pixels: correct it")
    return XmlBoxes(size, tuple(_object(found) for found in root.iterfind("object")))


def _object(element: Element) -> XmlObject:
    track = -1 if element.find("trackid") is None else _whole(element, "trackid")
    x1, y1, x2, y2 = (_number(element, f"bndbox/{side}") for side in _SIDES)
    if x2 < x1 or y2 < y1:
        raise XmlFaultError(f"has a box that ends before it begins ({x1:g} {y1:g} {x2:g} {y2:g}): correct it")
    return XmlObject(_text(element, "name"), track, (x1, y1, x2, y2))


def _parse(data: bytes) -> Element:
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise XmlFaultError(f"is no XML from line {error.lineno} on: copy it again") from error
    return builder.close()


def _refuse_doctype(*_: object) -> None:
    raise XmlFaultError(
        "declares a document type, which no annotation needs and which is not read: remove it"
    )


def _text(element: Element, path: str) -> str:
    text = (element.findtext(path) or "").strip()
    if not text:
        raise XmlFaultError(f"has no <{path}> in <{element.tag}>: copy it again or complete it")
    return text


def _whole(element: Element, path: str) -> int:
    value = _number(element, path)
    if value != int(value):
        raise XmlFaultError(
            f"has <{path}> {value:g} in <{element.tag}>, which is no whole number: correct it"
        )
    return int(value)


def _number(element: Element, path: str) -> float:
    text = _text(element, path)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise XmlFaultError(f"has <{path}> {text} in <{element.tag}>, which is no number: correct it")
    return value
