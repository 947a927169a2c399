# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import threading
import time

import pytest

from sidecar.kernel import path_lock, trusted


def lock(path, **how):
    return path_lock.lock(path, trusted.open_directory, **how)


def test_who_comes_second_is_told_who_is_there(tmp_path):
    """One holder; closing ends it."""
    fd = lock(tmp_path)
    with pytest.raises(BlockingIOError, match=f"^process {os.getpid()}$"):
        lock(tmp_path)
    os.close(fd)
    os.close(lock(tmp_path))


def test_without_proc_the_holder_is_another_process(tmp_path, monkeypatch):
    """Its number is only for the message."""
    monkeypatch.setattr(path_lock, "_LOCKS", tmp_path / "nowhere")
    fd = lock(tmp_path)
    with pytest.raises(BlockingIOError, match=r"^another process$"):
        lock(tmp_path)
    os.close(fd)


def test_a_holder_sees_that_its_path_leads_elsewhere(tmp_path):
    """The directory was removed, or made again: what is locked is not what others find there."""
    path = tmp_path / "locked"
    path.mkdir()
    fd = lock(path)
    assert path_lock.leads_to(path, fd)
    path.rmdir()
    assert not path_lock.leads_to(path, fd)
    path.mkdir()
    assert not path_lock.leads_to(path, fd)
    os.close(fd)


def test_who_waited_for_a_directory_that_is_gone_locks_the_one_there_now(tmp_path):
    """The lock that was waited for is on nothing by then."""
    path = tmp_path / "locked"
    path.mkdir()
    first = lock(path)
    got = []
    waiting = threading.Thread(target=lambda: got.append(lock(path, timeout_s=20)))
    waiting.start()
    time.sleep(0.1)
    shutil.rmtree(path)
    path.mkdir()
    os.close(first)
    waiting.join(20)

    assert path_lock.leads_to(path, got[0])
    os.close(got[0])
