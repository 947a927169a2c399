# SPDX-License-Identifier: Apache-2.0
"""The fields of a log record besides its message: `log.info("read again", extra=about(source, tries=3))`."""

from collections.abc import Mapping

SOURCE, FIELDS = "source", "fields"


def about(source: str = "", **fields: object) -> Mapping[str, object]:
    """
    Return the `extra` of a log call.

    Args:
        source: The name of the source that the line is about: a line of text begins with it; empty if none.
        fields: Members of the JSON object; the text does not show them, so the message has to.

    """
    return {SOURCE: source, FIELDS: fields}
