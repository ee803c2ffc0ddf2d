"""One worker of the features stage: frames from a decoder child, through the backbone, into the writer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.catalog.decoding import decode_rows
from stages.decode.client import DecodedVideo
from stages.decode.frames import FrameChunk
from stages.decode.placing import open_decoder
from stages.decode.spec import expected_frames
from stages.errors import SettingsError
from stages.features.backbones.base import FeatureOverflowError, MaskingBackbone, build, frames_of
from stages.features.backbones.table import PIXELS
from stages.features.bank import ClipGatherer, drawn_clips
from stages.features.stage import frames_stand_alone
from stages.features.store.writer import FeatureShardWriter
from stages.features.views import BANK, KEPT, kept_patches, see
from stages.outcome import Done, MediaError, Outcome, Rejected, Skipped
from stages.stage import Attempts, Row, WorkContext

if TYPE_CHECKING:
    from stages.features.stage import FeaturesStage

NO_FRAMES = "no sampled frame falls into this segment"


class FeaturesWorker:
    """See `ShardWorker`. Holds one batch of frames and their features at a time, however long a video is.

    Args:
        stage: what to compute.
        context: where the videos lie; device and threads of the model.

    Raises:
        SettingsError: the backbone can't be had as described.
    """

    def __init__(self, stage: FeaturesStage, context: WorkContext) -> None:
        self._stage, self._root = stage, context.data_root
        self._geometry = stage.frame_geometry()
        self._backbone = build(stage.backbone, context.device, context.threads)
        if stage.views.masked and not self._masks():
            raise SettingsError(
                f"views.masked: backbone {stage.backbone.name} can't leave out patches; choose a ViT such as "
                "dino_vits16, or views.masked=0"
            )
        self._together = frames_of(self._backbone)
        if stage.backbone.batch % self._together:
            raise SettingsError(
                f"backbone.batch={stage.backbone.batch}: {stage.backbone.name} encodes {self._together} "
                "frames together; give a multiple"
            )
        if stage.views.clips and self._together == 1:
            raise frames_stand_alone(stage.backbone.name)
        self._client = open_decoder(context)

    def process(
        self, items: Sequence[Row], writer: FeatureShardWriter, attempts: Attempts
    ) -> Iterator[Outcome]:
        """One outcome per catalog row, in order. Decoding runs ahead of the model, over video borders.

        Raises:
            FeatureOverflowError: the model gives values that fp16 can't hold; names video, frame and remedy.
        """
        spec, batch = self._stage.decode, self._stage.backbone.batch
        videos = decode_rows(self._client, self._root, items, spec, self._geometry, batch, attempts)
        for item, video in zip(items, videos, strict=True):
            if isinstance(video, MediaError):
                yield Rejected.of(item["video"], video)
            else:
                yield self._outcome(video, item, writer)

    def close(self) -> None:
        """Stop decoding."""
        self._client.close()

    def _masks(self) -> bool:
        return isinstance(self._backbone, MaskingBackbone) and self._backbone.masks

    def _outcome(self, video: DecodedVideo, item: Row, writer: FeatureShardWriter) -> Outcome:
        frames, size = 0, (0, 0)
        previous: dict[str, np.ndarray] = {}
        count = expected_frames(item["frames"] or 0, item["fps"], self._stage.decode)
        bank = ClipGatherer(drawn_clips(video.key, count, self._together, self._stage.views))
        try:
            for batch in batches(video, self._stage.backbone.batch, self._together):
                self._add(video.key, batch, previous, writer)
                bank.see(batch)
                frames, size = frames + len(batch.index), batch.rgb.shape[1:3]
        except MediaError as error:
            return Rejected.of(video.key, error)
        info: dict[str, Any] = dict(video.info)
        if frames == 0:
            return Skipped(video.key, NO_FRAMES, info)
        for clips in bank.chunks(self._stage.backbone.batch // self._together):
            facets = self._extract(video.key, clips, clips.rgb, None)
            facets.pop(PIXELS, None)  # the base view has those
            _write(writer, video.key, clips, facets, BANK)
        info |= {"frames": frames, "size": list(size), "grid": list(self._backbone.grid(*size))}
        if self._stage.backbone.weights == "hub" and self._backbone.weights_digest:
            info["weights"] = f"sha256:{self._backbone.weights_digest}"
        return Done(video.key, info)

    def _add(
        self, video: str, batch: FrameChunk, previous: dict[str, np.ndarray], writer: FeatureShardWriter
    ) -> None:
        """One batch through every view; ``previous`` keeps each view's last frame for the next batch."""
        for view in self._stage.views.whole():
            rgb = see(batch.rgb, video, view, self._stage.views)
            facets = self._extract(video, batch, rgb, previous.get(view))
            previous[view] = rgb[-1]
            _write(writer, video, batch, facets, view)
        for view in self._stage.views.parts():
            _write(writer, video, batch, self._extract_part(video, batch, view), view)

    def _extract(
        self, video: str, batch: FrameChunk, rgb: np.ndarray, previous: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        with _named(video, batch):
            return self._backbone.extract(rgb, previous)

    def _extract_part(self, video: str, batch: FrameChunk, view: str) -> dict[str, np.ndarray]:
        """The facets of a masked view, and which patches it has."""
        assert isinstance(self._backbone, MaskingBackbone)  # see __init__
        rows, columns = self._backbone.grid(*batch.rgb.shape[1:3])
        frames, spec = batch.index.tolist(), self._stage.views
        kept = np.stack([kept_patches(video, view, frame, rows * columns, spec) for frame in frames])
        with _named(video, batch):
            return {**self._backbone.extract_kept(batch.rgb, kept), KEPT: kept[..., None]}


@contextmanager
def _named(video: str, batch: FrameChunk) -> Iterator[None]:
    """A value beyond fp16 is told with the video and the frame it is of."""
    try:
        yield
    except FeatureOverflowError as error:
        detail = (
            f"of video {video}, frame {int(batch.index[error.position])}, {error.detail}; take another "
            "layer or set backbone.norm=after"
        )
        raise FeatureOverflowError(error.facet, error.position, detail) from error


def _write(
    writer: FeatureShardWriter, video: str, batch: FrameChunk, facets: dict[str, np.ndarray], view: str
) -> None:
    for i, (frame, pts) in enumerate(zip(batch.index.tolist(), batch.pts.tolist(), strict=True)):
        for facet, values in facets.items():
            writer.add(video, frame, pts, facet, values[i], view)


def batches(chunks: Iterable[FrameChunk], size: int, together: int = 1) -> Iterator[FrameChunk]:
    """Frames regrouped into batches of ``size``, the tail into falling powers of two.

    How the frames came in chunks leaves no trace, and a model meets few shapes: ``size`` and powers of two.

    Args:
        together: frames that are never parted, counted from the first one; it divides ``size``, and the
            powers are of as many frames. What is left over in the end comes alone.
    """
    kept: FrameChunk | None = None
    for chunk in chunks:
        kept = chunk if kept is None or not len(kept.index) else _joined(kept, chunk)
        while len(kept.index) >= size:
            yield _part(kept, 0, size)
            kept = _part(kept, size, len(kept.index))
    while kept is not None and (left := len(kept.index)):
        runs = -(-left // together)
        largest = min(together << (runs.bit_length() - 1), left)
        yield _part(kept, 0, largest)
        kept = _part(kept, largest, left)


def _part(chunk: FrameChunk, start: int, stop: int) -> FrameChunk:
    return FrameChunk(chunk.index[start:stop], chunk.pts[start:stop], chunk.rgb[start:stop])


def _joined(first: FrameChunk, second: FrameChunk) -> FrameChunk:
    return FrameChunk(
        np.concatenate([first.index, second.index]),
        np.concatenate([first.pts, second.pts]),
        np.concatenate([first.rgb, second.rgb]),
    )
