# SPDX-License-Identifier: Apache-2.0
"""What a library prints is kept whole."""

import ctypes

from sidecar.kernel import libbpf
from sidecar.kernel.library_log import LibraryLog


def test_the_end_of_a_long_message_is_kept():
    """The verifier's log is one message, and the reason is at its end."""
    library = libbpf._library()
    path = "x" * 100_000
    with LibraryLog(library.libbpf_set_print) as log:
        library.bpf_object__open_file(ctypes.c_char_p(path.encode()), None)

    assert any(f"{path}: " in line for line in log.lines), [line[-80:] for line in log.lines]


def test_the_verdict_is_the_last_line_about_the_program():
    """Not what the library says after it, nor the verifier's statistics."""
    log = LibraryLog()
    log.lines = [
        "libbpf: prog 'x': -- BEGIN PROG LOAD LOG --",
        "math between pkt pointer and register with unbounded min value is not allowed",
        "processed 229 insns (limit 1000000) max_states_per_insn 0",
        "-- END PROG LOAD LOG --",
        "libbpf: failed to load object 'xdp_otel'",
    ]

    assert log.verdict() == "math between pkt pointer and register with unbounded min value is not allowed"
