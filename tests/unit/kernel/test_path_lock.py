# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import threading
import time

import pytest

from sidecar.kernel import path_lock, trusted


def lock(path, **how):
    return path_lock.lock(path, trusted.open_directory, **how)


def test_the_error_names_the_holder(tmp_path):
    """One process holds the lock, and closing the descriptor releases it."""
    fd = lock(tmp_path)
    with pytest.raises(BlockingIOError, match=f"^process {os.getpid()}$"):
        lock(tmp_path)
    os.close(fd)
    os.close(lock(tmp_path))


def test_without_proc_the_holder_has_no_number(tmp_path, monkeypatch):
    """The number is only for the message."""
    monkeypatch.setattr(path_lock, "_LOCKS", tmp_path / "nowhere")
    fd = lock(tmp_path)
    with pytest.raises(BlockingIOError, match=r"^another process$"):
        lock(tmp_path)
    os.close(fd)


def test_a_holder_notices_a_replaced_directory(tmp_path):
    """Once the directory is removed or recreated, others find another inode at the path."""
    path = tmp_path / "locked"
    path.mkdir()
    fd = lock(path)
    assert path_lock.leads_to(path, fd)
    path.rmdir()
    assert not path_lock.leads_to(path, fd)
    path.mkdir()
    assert not path_lock.leads_to(path, fd)
    os.close(fd)


def test_a_waiter_locks_the_directory_that_the_path_leads_to_now(tmp_path):
    """The inode that it waited for is gone by then."""
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
