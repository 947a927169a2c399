# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
import socket
from pathlib import Path

import pytest

from sidecar.kernel import trusted

OTHER = 12345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def directory(tmp_path):
    """A directory, open."""
    fd = trusted.open_directory(tmp_path)
    yield fd
    os.close(fd)


@pytest.fixture
def umask():
    """Set the umask; the old one comes back."""
    with contextlib.ExitStack() as stack:
        yield lambda mask: stack.callback(os.umask, os.umask(mask))


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777], ids=oct)
def test_a_directory_is_made_with_the_mode_meant(tmp_path, umask, mask):
    """Whatever the umask; what is made above it is everybody's to pass and nobody's to write."""
    umask(mask)
    trusted.make_directory(tmp_path / "a" / "b" / "c", 0o711)
    modes = [(tmp_path / path).stat().st_mode & 0o7777 for path in ("a", "a/b", "a/b/c")]

    assert modes == [0o755, 0o755, 0o711]


def test_a_directory_that_is_there_is_kept_as_it_is(tmp_path):
    """Its mode may be somebody's wish."""
    (tmp_path / "there").mkdir(mode=0o750)
    (tmp_path / "there").chmod(0o750)
    trusted.make_directory(tmp_path / "there", 0o700)

    assert (tmp_path / "there").stat().st_mode & 0o7777 == 0o750


def test_a_directory_below_a_link_that_leads_nowhere_is_an_error(tmp_path):
    """And not a search without end."""
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError):
        trusted.make_directory(tmp_path / "link" / "below", 0o700)


def test_a_link_to_a_directory_is_not_opened(tmp_path):
    """It may lead to anything."""
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError):
        trusted.open_directory(tmp_path / "link")


def link(path):
    (path.parent / "elsewhere").write_bytes(b"secret")
    path.symlink_to("elsewhere")


def bound(path):
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as one:
        one.bind(str(path))


@pytest.mark.parametrize(
    "plant",
    [link, os.mkfifo, Path.mkdir, bound, lambda path: path.symlink_to(path)],
    ids=lambda f: f.__name__,
)
@pytest.mark.timeout(20)
def test_only_a_regular_file_is_read(tmp_path, directory, plant):
    """Nothing is followed, nothing waited for."""
    plant(tmp_path / "file")
    with pytest.raises(trusted.UntrustedError, match="not a regular file"):
        trusted.read_file("file", directory, 100)


def test_no_more_is_read_than_there_can_be(tmp_path, directory):
    """A file of a terabyte costs nothing; one of the most that may be is read."""
    (tmp_path / "file").write_bytes(b"0123456789")
    assert trusted.read_file("file", directory, 10) == b"0123456789"
    os.truncate(tmp_path / "file", 1 << 40)
    with pytest.raises(trusted.UntrustedError, match=r"1,099,511,627,776 bytes are more"):
        trusted.read_file("file", directory, 10)


@as_root
def test_a_file_of_somebody_else_is_not_read(tmp_path, directory):
    """Unless the directory is his: then the user named it."""
    (tmp_path / "file").write_bytes(b"planted")
    os.chown(tmp_path / "file", OTHER, OTHER)
    with pytest.raises(trusted.UntrustedError, match=f"belongs to user {OTHER}"):
        trusted.read_file("file", directory, 100)
    os.chown(tmp_path, OTHER, OTHER)

    assert trusted.read_file("file", directory, 100) == b"planted"


@pytest.mark.parametrize("plant", [link, os.mkfifo, bound], ids=lambda f: f.__name__)
@pytest.mark.timeout(20)
def test_a_file_is_made_and_never_opened(tmp_path, directory, plant, umask):
    """What had its name makes room, whatever it led to; the file is nobody else's to read."""
    plant(tmp_path / "file")
    umask(0o277)
    trusted.write_file("file", directory, [b"on", b"", b"e"])

    assert (tmp_path / "file").read_bytes() == b"one"
    assert (tmp_path / "file").stat().st_mode & 0o7777 == 0o600
    assert [path.read_bytes() for path in tmp_path.glob("elsewhere")] in ([], [b"secret"])
