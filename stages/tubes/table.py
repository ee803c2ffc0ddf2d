"""The columns of tubes on disk, and the two tables that readers want from them.

A shard is one plain table, one row per (video, mask, tube, frame), so that any Parquet reader can filter it
without knowing this project. What holds for a tube as a whole and can't be computed from its frames (slot
vector, label) is repeated on all of its rows: equal values take next to no bytes in Parquet, and
``GROUP BY video, mask, tube`` is the table of tubes. `tubes_of` does that grouping.

A tube without a pixel in a frame has no row there, and a frame without tubes has no row at all. Which frames
were looked at, and how large they are, is in the manifest (`TUBES_MANIFEST`).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TUBES_SCHEMA = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("mask", pa.string(), nullable=False),  # kind: decoder, attention, cluster
        pa.field("tube", pa.int32(), nullable=False),  # from 0, within the video and the kind
        pa.field("frame", pa.int64(), nullable=False),  # index of the frame in the source
        pa.field("pts", pa.float64(), nullable=False),  # presentation time, seconds
        pa.field("size", pa.list_(pa.int32(), 2), nullable=False),  # height, width of the upright frame
        pa.field("rle", pa.string(), nullable=False),  # compressed counts of COCO, column-major
        pa.field("box", pa.list_(pa.int32(), 4), nullable=False),  # x, y, width, height in pixels
        pa.field("area", pa.int64(), nullable=False),  # pixels
        pa.field("score", pa.float32(), nullable=False),  # mean confidence of the tube's pixels, see `labels`
        pa.field("slot", pa.list_(pa.float32())),  # of the tube: mean of its slot vectors
        pa.field("label", pa.string()),  # of the tube: its name, where a stage has named it
        pa.field("label_score", pa.float32()),  # its probability; null for one that no name fits
        pa.field("top", pa.list_(pa.struct([("name", pa.string()), ("score", pa.float32())]))),  # best names
        pa.field("background", pa.string()),  # the name of background that fits better than any target
        pa.field("members", pa.list_(pa.int32())),  # the tubes of the artifact before that it is made of
        pa.field("classes", pa.list_(pa.float32())),  # probabilities of the rest and of every target
    ]
)
"""One row per tube and frame; the columns from ``slot`` on are the same in all rows of a tube, and null where
no stage has named it."""

OF_TUBE = ("slot", "label", "label_score", "top", "background", "members", "classes")
"""The columns of `TUBES_SCHEMA` that belong to the tube as a whole."""

NAMED = "named"
"""The kind of the masks that naming leaves: merged, and with the names of what they show."""

TUBES_MANIFEST = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("masks", pa.list_(pa.string()), nullable=False),  # kinds, the published one first
        pa.field("frame", pa.list_(pa.int64()), nullable=False),
        pa.field("pts", pa.list_(pa.float64()), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
    ]
)
"""Where the rows of a video lie (``row`` is the first one's place in the shard), and what was looked at."""

TUBE_SCHEMA = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("mask", pa.string(), nullable=False),
        pa.field("tube", pa.int32(), nullable=False),
        pa.field("frames", pa.int64(), nullable=False),  # in how many frames it has pixels
        pa.field("first", pa.int64(), nullable=False),  # index in the source of the first of them
        pa.field("last", pa.int64(), nullable=False),
        pa.field("area", pa.int64(), nullable=False),  # pixels over all frames
        pa.field("score", pa.float32(), nullable=False),  # mean over those pixels
        *(TUBES_SCHEMA.field(name) for name in OF_TUBE),
    ]
)
"""One row per tube."""

KEY = ("video", "mask", "tube")


def tubes_of(rows: pa.Table) -> pa.Table:
    """The table of tubes (`TUBE_SCHEMA`) that ``rows`` (`TUBES_SCHEMA`) describe, in order of appearance.

    Columns of `OF_TUBE` that ``rows`` lack are lacking there too.
    """
    given = [name for name in OF_TUBE if name in rows.column_names]
    schema = pa.schema([field for field in TUBE_SCHEMA if field.name in given or field.name not in OF_TUBE])
    if not rows.num_rows:
        return schema.empty_table()
    area = rows["area"].to_numpy()
    work = rows.select([*KEY, "frame", "area"])
    work = work.append_column("weight", pa.array(area * rows["score"].to_numpy().astype(np.float64)))
    work = work.append_column("row", pa.array(np.arange(rows.num_rows)))
    wanted = [
        ("frame", "count"),
        ("frame", "min"),
        ("frame", "max"),
        ("area", "sum"),
        ("weight", "sum"),
        ("row", "min"),
    ]
    found = work.group_by(KEY, use_threads=False).aggregate(wanted).sort_by("row_min")
    columns = {
        **{name: found[name] for name in KEY},
        "frames": found["frame_count"],
        "first": found["frame_min"],
        "last": found["frame_max"],
        "area": found["area_sum"],
        "score": pc.divide(found["weight_sum"], found["area_sum"]).cast(pa.float32()),
        **{name: rows[name].take(found["row_min"]) for name in given},
    }
    return pa.table([columns[name] for name in schema.names], schema=schema).combine_chunks()
