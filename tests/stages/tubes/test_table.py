"""The table of tubes against a plain loop over the rows."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.tubes.table import TUBE_SCHEMA, TUBES_SCHEMA, tubes_of
from tests.stages.tubes.making import make_store, random_segmentation


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    artifact = make_store(
        tmp_path_factory.mktemp("s") / "t", {"a": random_segmentation(0), "b": random_segmentation(1)}
    )
    return pq.read_table(artifact.shard("000000-00"))


def test_one_row_per_tube(rows):
    assert rows.schema.equals(TUBES_SCHEMA)
    found = tubes_of(rows)
    assert found.schema.equals(TUBE_SCHEMA)
    members = {}
    for row in rows.to_pylist():
        members.setdefault((row["video"], row["mask"], row["tube"]), []).append(row)
    assert [tuple(r[k] for k in ("video", "mask", "tube")) for r in found.to_pylist()] == list(members)
    for tube, group in zip(found.to_pylist(), members.values(), strict=True):
        areas = np.array([row["area"] for row in group])
        frames = [row["frame"] for row in group]
        assert frames == sorted(set(frames))
        assert (tube["frames"], tube["first"], tube["last"]) == (len(group), frames[0], frames[-1])
        assert tube["area"] == areas.sum()
        assert tube["score"] == pytest.approx(
            (areas * [r["score"] for r in group]).sum() / areas.sum(), rel=1e-6
        )
        assert all(row["slot"] == tube["slot"] for row in group) and len(tube["slot"]) == 6
        assert tube["label"] is None and tube["label_score"] is None


def test_no_rows(rows):
    assert tubes_of(rows.slice(0, 0)).equals(TUBE_SCHEMA.empty_table())


def test_slots_may_be_absent(rows):
    at = rows.column_names.index("slot")
    none = rows.set_column(
        at, rows.schema.field("slot"), pa.nulls(rows.num_rows, rows.schema.field("slot").type)
    )
    assert tubes_of(none)["slot"].null_count == tubes_of(none).num_rows
