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
def test_a_directory_gets_its_mode_whatever_the_umask(tmp_path, umask, mask):
    """Its missing parents can be traversed by everybody and written by their owner alone."""
    umask(mask)
    trusted.make_directory(tmp_path / "a" / "b" / "c", 0o711)
    modes = [(tmp_path / path).stat().st_mode & 0o7777 for path in ("a", "a/b", "a/b/c")]

    assert modes == [0o755, 0o755, 0o711]


def test_an_existing_directory_keeps_its_mode(tmp_path):
    """Somebody may have chosen it."""
    (tmp_path / "there").mkdir(mode=0o750)
    (tmp_path / "there").chmod(0o750)
    trusted.make_directory(tmp_path / "there", 0o700)

    assert (tmp_path / "there").stat().st_mode & 0o7777 == 0o750


def test_a_directory_below_a_dangling_link_is_an_error(tmp_path):
    """And not an endless search."""
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError):
        trusted.make_directory(tmp_path / "link" / "below", 0o700)


def test_a_link_to_a_directory_is_not_opened(tmp_path):
    """It may lead anywhere."""
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
    """No link is followed, and nothing blocks."""
    plant(tmp_path / "file")
    with pytest.raises(trusted.UntrustedError, match="not a regular file"):
        trusted.read_file("file", directory, 100)


def test_a_file_larger_than_the_limit_is_not_read(tmp_path, directory):
    """A file of a terabyte costs nothing; one of exactly the limit is read."""
    (tmp_path / "file").write_bytes(b"0123456789")
    assert trusted.read_file("file", directory, 10) == b"0123456789"
    os.truncate(tmp_path / "file", 1 << 40)
    with pytest.raises(trusted.UntrustedError, match=r"1,099,511,627,776 bytes are more"):
        trusted.read_file("file", directory, 10)


@as_root
def test_a_file_of_another_user_is_not_read(tmp_path, directory):
    """Unless that user owns the directory, which the user of the sidecar chose."""
    (tmp_path / "file").write_bytes(b"planted")
    os.chown(tmp_path / "file", OTHER, OTHER)
    with pytest.raises(trusted.UntrustedError, match=f"belongs to user {OTHER}"):
        trusted.read_file("file", directory, 100)
    os.chown(tmp_path, OTHER, OTHER)

    assert trusted.read_file("file", directory, 100) == b"planted"


@pytest.mark.parametrize("plant", [link, os.mkfifo, bound], ids=lambda f: f.__name__)
@pytest.mark.timeout(20)
def test_a_file_is_created_and_never_opened(tmp_path, directory, plant, umask):
    """Whatever had its name is removed, not followed; nobody else can read the file."""
    plant(tmp_path / "file")
    umask(0o277)
    trusted.write_file("file", directory, [b"on", b"", b"e"])

    assert (tmp_path / "file").read_bytes() == b"one"
    assert (tmp_path / "file").stat().st_mode & 0o7777 == 0o600
    assert [path.read_bytes() for path in tmp_path.glob("elsewhere")] in ([], [b"secret"])
