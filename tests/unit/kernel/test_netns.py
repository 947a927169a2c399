# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from sidecar.errors import KernelError, SourceError
from sidecar.kernel import netns


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.write_text("")], ids=["fifo", "file"])
def test_what_is_no_namespace_is_one_clear_line(tmp_path, make):
    """It is neither waited for, nor called a missing right."""
    path = tmp_path / "ns"
    make(path)
    named = rf"^cannot enter network namespace {path}: not a network namespace: "
    with pytest.raises(SourceError, match=named), netns.entered(str(path)):
        pass


def test_without_proc_nobody_steps_out(tmp_path, monkeypatch):
    """There would be no way back."""
    (tmp_path / "ns").write_text("")
    monkeypatch.setattr(netns, "_OWN", str(tmp_path / "nowhere"))
    with (
        pytest.raises(KernelError, match=r"ENOENT .*: mount proc at /proc"),
        netns.entered(str(tmp_path / "ns")),
    ):
        pass


def test_a_namespace_that_is_not_there_does_not_exist(tmp_path):
    """By its name or by its path; one's own always does."""
    assert netns.exists(None)
    assert netns.exists("/proc/self/ns/net")
    assert not netns.exists("no-such-ns")
    assert not netns.exists(str(tmp_path / "ns"))
