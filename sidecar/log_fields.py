# SPDX-License-Identifier: Apache-2.0
"""The fields of a log record besides its message: `log.info("read again", extra=about(source, tries=3))`."""

import logging
from collections.abc import Mapping


def about(source: str = "", **fields: object) -> Mapping[str, object]:
    """
    Return the `extra` of a log call.

    Args:
        source: The name of the source that the line is about: a line of text begins with it; empty if none.
        fields: Members of the JSON object; the text does not show them, so the message has to.

    """
    return {"source": source, "fields": fields}


def source_of(record: logging.LogRecord) -> str:
    """Return the name of the source that a record is about; empty if none."""
    return str(getattr(record, "source", ""))


def fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    """Return the other fields of a record."""
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return fields


def text_of(record: logging.LogRecord) -> str:
    """Return the message of a record after the name of its source: `pin:/x: read again`."""
    source, message = source_of(record), record.getMessage()
    return f"{source}: {message}" if source else message
