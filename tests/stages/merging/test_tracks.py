"""Tracks of segments whose tubes' partners are plain to see."""

import itertools

import numpy as np
import pytest
from pycocotools import mask as coco

from stages.artifacts import layout
from stages.artifacts.commit import commit
from stages.catalog.ids import video_id
from stages.labeling.vocabulary import UNNAMED
from stages.merging.tracks import NEAR, sources, track_source
from stages.outcome import Done
from stages.tubes.reader import TubeStore
from stages.tubes.table import NAMED
from stages.tubes.writer import TubeFrame, TubeName, TubesWriter

NAMES = ("cat", "dog", "cow")
SIZE, FRAMES = (20, 30), 8
EYE = np.eye(6, dtype=np.float32)


def segment(number):
    return video_id("day 1/long.mp4", number)


class Tube:
    """A square of 10 pixels a side at one place, with all of its slot in one direction."""

    def __init__(self, left, name="cat", slot=0, frames=range(FRAMES), side=10, **classes):
        self.left, self.slot, self.frames, self.side = left, slot, frames, side
        scores = np.array([0.1, *(classes.get(n, 0.9 if n == name else 0.0) for n in NAMES)], np.float32)
        known = name != UNNAMED
        best = float(scores[1:].max()) if known else None
        self.name = TubeName(name, best, (), None if known else "grass", (0,), scores)

    def rows(self, number):
        mask = np.zeros(SIZE, np.uint8, order="F")
        mask[: self.side, self.left : self.left + self.side] = 1
        run = coco.encode(mask)
        box = tuple(int(v) for v in coco.toBbox(run))
        return [
            TubeFrame(number, at, run["counts"].decode(), box, int(coco.area(run)), 0.5) for at in self.frames
        ]


@pytest.fixture
def tracked(tmp_path):
    """Writes named tubes by video and gives their tracks: ``(video, tube, label)`` by track."""

    def run(videos, threshold=0.5, names=NAMES, slots=True):
        artifact = layout.Artifact(tmp_path / "named", "named", ".parquet")
        artifact.root.mkdir()
        layout.start(artifact, {"kind": "named", "name": "named"}, layout.ShardLayout())
        for number, (video, tubes) in enumerate(
            videos.items()
        ):  # each descends from a features shard of its own
            shard = f"000000-{number:02d}-00"
            writer = TubesWriter(artifact.root / "shards" / f".{number}.tmp", shard)
            rows = [row for n, tube in enumerate(tubes) for row in tube.rows(n)]
            vectors = {n: EYE[tube.slot] for n, tube in enumerate(tubes)} if slots else None
            frames = 10 * FRAMES * number + 2 * np.arange(FRAMES)
            called = {n: tube.name for n, tube in enumerate(tubes)}
            writer.add(video, NAMED, SIZE, frames, frames / 10, rows, vectors, called)
            writer.keep(video)
            commit(artifact, shard, writer.finish(), [Done(video)], upstream=f"000000-{number:02d}")
        store = TubeStore(artifact.root)
        rows = [
            row for s, vs in sources(store).items() for row in track_source(store, s, vs, names, threshold)
        ]
        assert sorted((r["video"], r["tube"]) for r in rows) == sorted(
            (video, n) for video, tubes in videos.items() for n in range(len(tubes))
        ), "every tube is in exactly one track"
        grouped = itertools.groupby(rows, key=lambda r: (r["source"], r["track"]))
        return [[(r["video"], r["tube"], r["label"]) for r in found] for _, found in grouped], rows

    return run


def test_tubes_go_on_whatever_their_numbers_and_names_are_pooled_by_area(tracked):
    """The dog is seen as a cat in a small part of its time."""
    first = [Tube(0, "cat", slot=0), Tube(12, "dog", slot=1, dog=0.6, cat=0.3)]
    second = [Tube(13, "cat", slot=1, frames=range(2), cat=0.7, dog=0.2), Tube(0, "cat", slot=0)]
    third = [Tube(20, "cow", slot=2)]
    found, rows = tracked({segment(0): first, segment(1): second, segment(2): third})
    assert found == [
        [(segment(0), 0, "cat"), (segment(1), 1, "cat")],
        [(segment(0), 1, "dog"), (segment(1), 0, "dog")],
        [(segment(2), 0, "cow")],
    ]
    assert rows[2]["label_score"] == pytest.approx((8 * 0.6 + 2 * 0.2) / 10)
    assert [r["track"] for r in rows] == [0, 0, 1, 1, 2]
    assert (rows[0]["first_pts"], rows[0]["last_pts"]) == (0.0, 1.4)
    assert (rows[3]["first_pts"], rows[3]["last_pts"]) == (8.0, 8.2), "times of the tube's own pixels"


def test_the_best_target_of_all_votes_may_be_nobodys_first(tracked):
    first = [Tube(0, "dog", dog=0.5, cat=0.4)]
    second = [Tube(0, "cow", cow=0.5, cat=0.4)]
    _, rows = tracked({segment(0): first, segment(1): second})
    assert [row["label"] for row in rows] == ["cat", "cat"]
    assert rows[0]["label_score"] == pytest.approx(0.4)


def test_what_no_name_fits_has_no_say_and_gets_the_name_of_its_track(tracked):
    first = [Tube(0, UNNAMED, cow=0.9), Tube(12, UNNAMED, slot=1)]
    second = [Tube(0, "dog", side=8, dog=0.6), Tube(12, UNNAMED, slot=1)]
    found, rows = tracked({segment(0): first, segment(1): second})
    assert [[label for *_, label in track] for track in found] == [["dog", "dog"], [UNNAMED, UNNAMED]]
    assert [row["label_score"] for row in rows[2:]] == [None, None]
    assert rows[0]["label_score"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("after", "together"),
    [
        (Tube(5, slot=0), True),  # (1 + 1/3) / 2
        (Tube(9, slot=0), True),  # (1 + 1/19) / 2
        (Tube(10, slot=2), False),
        (Tube(0, slot=1), True),  # (0 + 1) / 2
        (Tube(1, slot=1), False),  # (0 + 9/11) / 2
        (Tube(0, frames=range(NEAR - 1, FRAMES)), True),
        (Tube(0, frames=range(NEAR, FRAMES)), False),  # not there near the border
    ],
)
def test_the_number_that_is_compared_is_that_of_clips(tracked, after, together):
    found, _ = tracked({segment(0): [Tube(0)], segment(1): [after]})
    assert len(found) == (1 if together else 2)


def test_the_mask_is_that_of_the_frame_nearest_to_the_border(tracked):
    gone = FRAMES - NEAR
    assert len(tracked({segment(0): [Tube(0, frames=range(gone))], segment(1): [Tube(0)]})[0]) == 2


def test_without_slot_vectors_masks_alone_decide(tracked):
    found, _ = tracked({segment(0): [Tube(0)], segment(1): [Tube(3), Tube(20)]}, slots=False)
    assert [len(track) for track in found] == [2, 1]  # 7/13 is more than 0.5


@pytest.mark.parametrize(
    ("videos", "threshold"),
    [
        ((segment(0), segment(2)), 0.5),  # the one between was rejected
        (("a@mp4", "b@mp4"), 0.5),  # two files
        ((segment(0), video_id("other.mp4", 1)), 0.5),
        ((segment(0), segment(1)), 0.0),  # linking is off
    ],
)
def test_what_is_not_linked(tracked, videos, threshold):
    found, rows = tracked({video: [Tube(0, cat=0.7)] for video in videos}, threshold)
    assert len(found) == 2
    assert [(r["label"], r["label_score"]) for r in rows] == [("cat", pytest.approx(0.7))] * 2


def test_segments_without_tubes_and_many_segments(tracked):
    """Numbers, not their text, order segments: 10,000 follows 9,999."""
    names = [segment(n) for n in (9999, 10000, 10001, 10002)]
    found, _ = tracked({names[0]: [Tube(0)], names[1]: [Tube(0)], names[2]: [], names[3]: [Tube(0)]})
    assert [[video for video, *_ in track] for track in found] == [names[:2], [names[3]]]
