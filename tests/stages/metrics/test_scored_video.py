import numpy as np
import pytest

from stages.metrics import scored_video
from stages.metrics.scored_video import DEFAULTS, Video
from tests.stages.metrics.making import blobs, rows, shaken


def test_what_is_shared_is_made_once():
    truth = blobs(0)
    video = Video(shaken(truth), truth, None, DEFAULTS)
    for name in ("confusion", "solv", "davis17u", "davis17u_perframe", "davis17s", "chunks"):
        assert getattr(video, name) is getattr(video, name)


def test_chunks_of_six():
    truth = np.ones((15, 1, 2), int)
    truth[6:12] = 0
    truth[12:] = 2
    video = Video(np.zeros_like(truth), truth, None, DEFAULTS)
    assert scored_video.CHUNK == 6
    assert [chunk.objects for chunk in video.chunks] == [(1,)]
    assert [len(chunk.counts) for chunk in video.chunks] == [6]


@pytest.mark.parametrize("frames", [1, 4, 5])
def test_short_videos_are_one_chunk(frames):
    truth = np.repeat(rows("0110"), frames, axis=0)
    assert [len(chunk.counts) for chunk in Video(truth, truth, None, DEFAULTS).chunks] == [frames]


def test_options_reach_the_scorers():
    truth = blobs(1, objects=2)
    gaps = np.array([0, 2, 3])[truth]
    plain = Video(gaps, truth, None, DEFAULTS)
    bug = Video(gaps, truth, None, scored_video.ScoreOptions(id_gap_bug=True))
    assert plain.solv.iou.tolist() == [1.0, 1.0] and bug.solv.iou.tolist() == [0.0, 0.0]
    strict = Video(np.arange(56) + 0 * truth, truth, None, scored_video.ScoreOptions(too_many="error"))
    with pytest.raises(ValueError, match="56 proposals"):
        _ = strict.davis17u
