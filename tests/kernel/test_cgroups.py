# SPDX-License-Identifier: Apache-2.0
"""Paths of cgroups by their ids, in a real cgroup2 hierarchy."""

import subprocess

import pytest

from sidecar.kernel import cgroups
from sidecar.kernel.cgroups import CgroupPaths


@pytest.fixture
def hierarchy(tmp_path, cleanup):
    """A mount of cgroup2 that only this test has."""
    root = tmp_path / "cgroup"
    root.mkdir()
    subprocess.run(["mount", "-t", "cgroup2", "none", root], check=True)
    cleanup.callback(subprocess.run, ["umount", root], check=True)
    return root


def make(root, name, cleanup):
    path = root / name
    path.mkdir()
    cleanup.callback(lambda: path.exists() and path.rmdir())
    return path


def test_a_cgroup_is_found_by_its_inode_and_remembered_when_it_is_gone(hierarchy, cleanup, monkeypatch):
    """A new one once a walk is due again."""
    outer = make(hierarchy, f"xdp-otel-{hierarchy.parent.name}", cleanup)
    inner = make(outer, "web.service", cleanup)
    paths, number = CgroupPaths(), inner.stat().st_ino
    now = 1000.0
    monkeypatch.setattr(cgroups.time, "monotonic", lambda: now)

    assert paths.path(number) == f"/{outer.name}/web.service"
    inner.rmdir()
    late = make(outer, "late.service", cleanup)
    assert paths.path(late.stat().st_ino) is None
    now += 10
    assert paths.path(late.stat().st_ino) == f"/{outer.name}/late.service"
    assert paths.path(number) == f"/{outer.name}/web.service"
    assert paths.path(2**63) is None


def test_the_root_is_a_cgroup_too(hierarchy):
    """Of the processes that are in no other."""
    assert CgroupPaths().path(hierarchy.stat().st_ino) == "/"
