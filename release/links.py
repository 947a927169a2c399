# SPDX-License-Identifier: Apache-2.0
"""Where a document leads when it is read outside the repository, on PyPI or Artifact Hub (pure)."""

import posixpath
import re

from sidecar import __version__

_RELATIVE = re.compile(r"(!?)(\[[^]]*\])\((?![a-z]+:|#)([^)\s]+)\)")


def absolute(markdown: str, directory: str, source: str) -> str:
    """
    Return a document whose links lead to the repository, as of this version.

    *directory* is where the document is in the repository; *source* is the repository's URL, on GitHub or
    with its paths. Links within the document stay.
    """

    def link(found: re.Match[str]) -> str:
        image, text, path = found.groups()
        place = posixpath.normpath(posixpath.join(directory, path))
        return f"{image}{text}({source}/{'raw' if image else 'blob'}/v{__version__}/{place})"

    return _RELATIVE.sub(link, markdown)
