# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from sidecar.errors import KernelError, SourceError
from sidecar.kernel import netns


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.write_text("")], ids=["fifo", "file"])
def test_a_file_that_is_no_namespace_is_a_one_line_error(tmp_path, make):
    """Opening it does not block, and no missing capability is blamed."""
    path = tmp_path / "ns"
    make(path)
    named = rf"^cannot enter network namespace {path}: not a network namespace: "
    with pytest.raises(SourceError, match=named), netns.entered(str(path)):
        pass


def test_without_proc_no_namespace_is_entered(tmp_path, monkeypatch):
    """There would be no way back."""
    (tmp_path / "ns").write_text("")
    monkeypatch.setattr(netns, "_OWN", str(tmp_path / "nowhere"))
    with (
        pytest.raises(KernelError, match=r"ENOENT .*: mount proc at /proc"),
        netns.entered(str(tmp_path / "ns")),
    ):
        pass


def test_exists(tmp_path):
    """A namespace is looked up by name or by path; the present one always exists."""
    assert netns.exists(None)
    assert netns.exists("/proc/self/ns/net")
    assert not netns.exists("no-such-ns")
    assert not netns.exists(str(tmp_path / "ns"))
