# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
import shutil
import uuid

import pytest

from sidecar.errors import StateError
from sidecar.otlp.resource import keep_instance_id, resource_attributes
from sidecar.state.journal import Journal
from sidecar.state.record import Record

KNOWN = "0b1f9d2e-4d3c-4b57-9c1e-6d2f5a7b8c90"


@pytest.fixture(autouse=True)
def _no_configured_attributes(monkeypatch):
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)


def instance_id(state_dir):
    return dict(resource_attributes(state_dir))["service.instance.id"]


def test_the_id_in_the_state_directory_is_used(tmp_path):
    """Including one written by hand, with or without a newline."""
    (tmp_path / "instance-id").write_text(KNOWN)
    assert instance_id(tmp_path) == KNOWN


def elsewhere(path):
    (path.parent.parent / "elsewhere").write_text(KNOWN)
    path.symlink_to("../elsewhere")


def of_somebody_else(path):
    path.write_text(KNOWN)
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize(
    "plant",
    [
        elsewhere,
        os.mkfifo,
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text("not an id"),
        lambda path: path.write_text(KNOWN + "\n" * 1000),
        pytest.param(of_somebody_else, marks=pytest.mark.skipif(os.geteuid() != 0, reason="not root")),
    ],
)
@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["instance-id", "instance-id.new"])
def test_what_is_not_our_id_is_replaced(tmp_path, plant, name):
    """It is neither followed nor waited for, and its target stays as it is."""
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    plant(state_dir / name)
    made = instance_id(state_dir)

    assert made == str(uuid.UUID(made)) != KNOWN
    assert (state_dir / "instance-id").read_text() == f"{made}\n"
    assert instance_id(state_dir) == made
    assert [path.read_text() for path in tmp_path.glob("elsewhere")] in ([], [KNOWN])


def test_a_directory_in_its_place_is_one_clear_error(tmp_path):
    """It cannot be replaced."""
    (tmp_path / "instance-id").mkdir()
    with pytest.raises(
        StateError, match=rf"^cannot keep the instance id in {tmp_path}/instance-id: EISDIR .*writable$"
    ):
        instance_id(tmp_path)


def test_a_recreated_state_directory_keeps_its_id(tmp_path, monkeypatch):
    """Otherwise, without a machine id, the next start would begin a second series of the same counts."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "instance-id").write_text(KNOWN)
    with contextlib.closing(Journal(tmp_path / "state")) as journal:
        resource = resource_attributes(tmp_path / "state")
        journal.on_recreated = lambda: keep_instance_id(tmp_path / "state", resource)
        shutil.rmtree(tmp_path / "state")
        journal.commit(Record())

    assert instance_id(tmp_path / "state") == KNOWN
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=told")
    (tmp_path / "state" / "instance-id").unlink()
    keep_instance_id(tmp_path / "state", resource_attributes(tmp_path / "state"))
    assert not (tmp_path / "state" / "instance-id").exists()
