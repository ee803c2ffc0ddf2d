"""Log lines that programs can read: one JSON object each, with the run, stage, shard and video it is about.

Modules log with ``logging.getLogger(__name__)`` as usual and give what else they know in ``extra``
(``extra={"video": key}``). What holds for all that a process does is set once by `about`.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import socket
import sys
from typing import Any

PACKAGES = ("stages", "cluster", "configs", "pipelines")
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
_ids: dict[str, Any] = {}


def set_up(as_json: bool) -> None:
    """Send the project's log lines to standard error as JSON, or nowhere: people get sentences instead."""
    handler: logging.Handler = logging.NullHandler()
    if as_json:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
    for name in PACKAGES:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO if as_json else logging.NOTSET)


def quiet() -> None:
    """Nothing of stages and runners on standard error, which Python else fills with their warnings: what
    matters of them is told in a sentence.
    """
    for name in ("stages", "cluster"):
        logging.getLogger(name).addHandler(logging.NullHandler())


def about(**ids: Any) -> None:
    """From now on this process works for these: ``run``, ``stage``, ``shard``; None ends one of them."""
    _ids.update(ids)
    for name in [name for name, value in _ids.items() if value is None]:
        del _ids[name]


class JsonFormatter(logging.Formatter):
    """Gives ``time`` (UTC), ``level``, ``logger``, ``message``, ``host``, ``pid``, ids, and ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        content: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            **_ids,
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=False, default=str)
