# SPDX-License-Identifier: Apache-2.0
"""The formats of the log: a line of text for each record, or a JSON object on a line."""

import json
import logging
from datetime import datetime, timezone
from types import TracebackType

from sidecar.errors import printable
from sidecar.log_fields import fields_of, source_of, text_of

LONGEST_LINE = 2000

_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class OneLine(logging.Formatter):
    """Formats a record as one printable line, whatever it quotes; only a traceback has more."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line."""
        record.message = printable(text_of(record), LONGEST_LINE)
        return super().formatMessage(record)

    def formatException(self, ei: _ExceptionInfo) -> str:  # noqa: N802
        """Return the lines of a traceback, each of them printable."""
        return "\n".join(printable(line, LONGEST_LINE) for line in super().formatException(ei).split("\n"))


class JsonLine(logging.Formatter):
    """
    Formats a record as one JSON object in ASCII, on one line.

    Its members: `time` (RFC 3339, UTC), `level` (as `--log-level` has it), `source` if the record is about
    one, the record's other fields, `message`, and `traceback` of a bug.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        members: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
        }
        if source := source_of(record):
            members["source"] = source
        members |= fields_of(record)
        members["message"] = printable(record.getMessage(), LONGEST_LINE)
        if record.exc_info:
            members["traceback"] = self.formatException(record.exc_info)
        return json.dumps(members, default=str)
