# SPDX-License-Identifier: Apache-2.0
"""The bytes of journal files."""

from sidecar.state import journal_format, journal_log
from sidecar.state.journal_blobs import Written


def file_of(*records, size=0):
    """Return a journal file with some records."""
    data, checksum, written = journal_log.head(size), 0, Written()
    for record in records:
        payload, written = journal_format.encode(record, written)
        parts, checksum = journal_log.framed(payload, checksum)
        data = data.ljust(journal_log.aligned(len(data)), b"\0") + b"".join(parts)
    return data.ljust(size, b"\0")


def record_in(data):
    """Return the last record of a journal file, and whether it is acknowledged."""
    loaded = journal_format.decode(data)
    return loaded.record, loaded.found.acknowledged


def reread(record):
    """Return a record after it was written and read."""
    return record_in(file_of(record))[0]


def marked(data):
    """Return a journal file whose last record is acknowledged."""
    mark, at = journal_log.mark(journal_format.decode(data).found.checksum), journal_log.MARK_AT
    return data[:at] + mark + data[at + len(mark) :]
