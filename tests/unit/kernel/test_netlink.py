# SPDX-License-Identifier: Apache-2.0
import socket
import struct
from types import SimpleNamespace

import pytest

from sidecar.errors import KernelError
from sidecar.kernel import netlink

HEADER = struct.Struct("=IHHII")


class Channel:
    """A socket that answers what it is told to."""

    def __init__(self, *answers):
        self._answers = list(answers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def settimeout(self, _seconds):
        pass

    def send(self, _request):
        pass

    def recv(self, _size):
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (TimeoutError("timed out"), "no answer in 5 s"),
        (OSError(105, "No buffer space available"), r"ENOBUFS \(No buffer space available\)"),
        (HEADER.pack(20, 2, 0, 1, 0) + struct.pack("=i", -1), r"EPERM \(Operation not permitted\)"),
        (HEADER.pack(0, 16, 0, 1, 0), "malformed answer"),
        (b"\x10\0", "malformed answer"),
        (HEADER.pack(18, 2, 0, 1, 0) + b"\0\0", "malformed answer"),
        (HEADER.pack(20, 16, 0, 1, 0) + bytes(4), "malformed answer"),
        (HEADER.pack(32, 16, 0, 1, 0) + bytes(16), "malformed answer"),
    ],
)
@pytest.mark.timeout(20)
def test_a_bad_answer_is_a_one_line_error(monkeypatch, answer, cause):
    """Late, refused, truncated, without a name, of length zero: no traceback, and no endless read."""
    made = {name: getattr(socket, name) for name in ("AF_NETLINK", "AF_UNSPEC", "SOCK_RAW", "SOCK_CLOEXEC")}
    fake = SimpleNamespace(socket=lambda *_: Channel(answer), **made)
    monkeypatch.setattr(netlink, "socket", fake)
    with pytest.raises(KernelError, match=rf"^cannot list interfaces by rtnetlink: .*{cause}.*: try again$"):
        netlink.links()


def test_the_loopback_interface_is_listed():
    """By the real kernel, without any capability."""
    assert "lo" in {link.name for link in netlink.links()}
