"""A manifest: the table of what one committed shard holds, with the outcome of every video in its footer."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from crc32c import crc32c

from stages.artifacts.layout import Artifact
from stages.artifacts.place import Place, StoreError, whole_file
from stages.outcome import Done, Outcome, Rejected, Skipped

_KEY = b"tubeflow"
_CHECKSUM_KEY = b"tubeflow.crc32c"

REJECTS_SCHEMA = pa.schema(
    [
        ("video", pa.string()),
        ("error_class", pa.string()),
        ("message", pa.string()),
        ("attempts", pa.int32()),
    ]
)


class DamagedError(ValueError):
    """A committed file is missing or is not what was written. The message names it and the remedy."""


def damaged(path: Place, why: object) -> DamagedError:
    """The error for the committed file ``path``."""
    return DamagedError(
        f"{path} is damaged: {why}; list all damage with --verify, undo it with --verify --repair"
    )


@dataclass(frozen=True)
class Footer:
    """What a manifest says about its shard as a whole.

    Attributes:
        shard: id of the shard.
        upstream: id of the shard of the stage before it that it was made from, or ``""``.
        bytes: size of the shard file.
        sha256: hex digest of the shard file.
        outcomes: one entry per video, in order: ``video``, ``status`` (``done``, ``skipped``, ``rejected``),
            and what the stage recorded (``info``, ``reason``, ``error_class``, ``message``, ``attempts``).
    """

    shard: str
    upstream: str
    bytes: int
    sha256: str
    outcomes: list[dict[str, Any]]


def outcome_entry(outcome: Outcome) -> dict[str, Any]:
    """The JSON form of an outcome, as kept in footers."""
    match outcome:
        case Done(video, info):
            return {"video": video, "status": "done", "info": dict(info)}
        case Skipped(video, reason, info):
            return {"video": video, "status": "skipped", "reason": reason, "info": dict(info)}
        case Rejected(video, error_class, message, attempts):
            return {
                "video": video,
                "status": "rejected",
                "error_class": error_class,
                "message": message,
                "attempts": attempts,
            }


def encode(rows: pa.Table, footer: Footer) -> bytes:
    """The manifest file: equal content gives equal bytes."""
    text = json.dumps(vars(footer), sort_keys=True, separators=(",", ":")).encode()
    return _parquet(rows.replace_schema_metadata({_KEY: text, _CHECKSUM_KEY: _checksum(text)}))


def _checksum(text: bytes) -> bytes:
    return f"{crc32c(text):08x}".encode()


def encode_rejects(outcomes: list[dict[str, Any]]) -> bytes | None:
    """The rejects file, or None where nothing was rejected."""
    table = _rejects_table(outcomes)
    return _parquet(table) if table.num_rows else None


def _rejects_table(outcomes: list[dict[str, Any]]) -> pa.Table:
    rejected = [o for o in outcomes if o["status"] == "rejected"]
    columns = {name: [o[name] for o in rejected] for name in REJECTS_SCHEMA.names}
    return pa.table(columns, schema=REJECTS_SCHEMA)


def rejects_match(path: Place, outcomes: list[dict[str, Any]]) -> bool:
    """Whether the rejects file at ``path`` says what the footer says; it has to be absent without rejects."""
    expected = _rejects_table(outcomes)
    if not path.exists():
        return not expected.num_rows
    try:
        found = pq.read_table(whole_file(path), page_checksum_verification=True)
    except (pa.ArrowException, OSError):
        return False
    return bool(expected.num_rows) and found.equals(expected)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", store_schema=True, write_page_checksum=True)
    return buffer.getvalue()


def read_footer(path: Place) -> Footer:
    """The footer of the manifest at ``path``; reads the file's end only.

    Raises:
        DamagedError: if the file is no manifest or its footer has changed.
    """
    try:
        metadata = pq.read_metadata(whole_file(path)).metadata or {}
        text = metadata[_KEY]
        if _checksum(text) != metadata[_CHECKSUM_KEY]:
            raise damaged(path, "its footer has changed")
        return Footer(**json.loads(text))
    except (FileNotFoundError, StoreError):
        raise
    except (OSError, pa.ArrowInvalid, KeyError, TypeError) as error:
        raise damaged(path, error) from error


def read_rows(artifact: Artifact | str | Place, shard: str) -> pa.Table:
    """The rows of a committed shard's manifest, without the footer.

    Raises:
        DamagedError: if the rows have changed.
    """
    found = artifact if isinstance(artifact, Artifact) else Artifact.at(artifact)
    path = found.manifest(shard)
    try:
        rows = pq.read_table(whole_file(path), memory_map=False, page_checksum_verification=True)
    except (FileNotFoundError, StoreError):
        raise
    except (OSError, pa.ArrowInvalid) as error:
        raise damaged(path, error) from error
    return rows.replace_schema_metadata(None)
