# SPDX-License-Identifier: Apache-2.0
"""The documents that PyPI and Artifact Hub show: no link of theirs ends there."""

import re

import pytest

from demo.processes import ROOT
from release import links
from sidecar import __version__

SOURCE = "https://example.org/team/xdp-otel"
TARGET = re.compile(r"\]\(([^)]+)\)")


@pytest.mark.parametrize("document", ["README.md", "helm/README.md"])
def test_every_link_leads_to_a_page_that_is_there(document):
    before = (ROOT / document).read_text()
    after = links.absolute(before, document.rpartition("/")[0], SOURCE)

    targets = TARGET.findall(after)
    assert len(targets) == len(TARGET.findall(before)) > 5
    assert [each for each in targets if not re.match(r"https?://|#", each)] == []
    ours = [each for each in targets if each.startswith(SOURCE)]
    paths = [re.sub(rf"^{SOURCE}/(blob|raw)/v{re.escape(__version__)}/|#.*", "", each) for each in ours]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("written", "directory", "read"),
    [
        ("[a](docs/a.md#b)", "", f"[a]({SOURCE}/blob/v{__version__}/docs/a.md#b)"),
        ("[a](../docs/a.md)", "helm", f"[a]({SOURCE}/blob/v{__version__}/docs/a.md)"),
        ("![a](docs/a.png)", "", f"![a]({SOURCE}/raw/v{__version__}/docs/a.png)"),
        ("[a](#b), [c](https://example.net/d), <http://localhost:9090>", "", None),
    ],
)
def test_links(written, directory, read):
    assert links.absolute(written, directory, SOURCE) == (read or written)
