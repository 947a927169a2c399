# SPDX-License-Identifier: Apache-2.0
"""Capture what libbpf and libxdp print, above all the verifier's log."""

import ctypes
from collections.abc import Callable

_DEBUG = 2  # of enum libbpf_print_level and of enum libxdp_print_level
_VA_LIST = 32  # bytes on arm64, and more than the 24 on x86-64; both pass its address
_PrintFunction = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
SetPrint = Callable[..., object]

_vsnprintf: Callable[..., int] = ctypes.CDLL(None).vsnprintf
_vsnprintf.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p)  # type: ignore[attr-defined]


class LibraryLog:
    """
    Keep what libraries would print to stderr while the block runs: it matters only if they fail.

    *set_print* are their functions that redirect the output: `libbpf_set_print`, `libxdp_set_print`.
    """

    def __init__(self, *set_print: SetPrint) -> None:
        self.lines: list[str] = []
        self._callback = _PrintFunction(self._print)
        self._set_print = set_print

    def _print(self, level: int, template: int | None, arguments: int | None) -> int:
        if level >= _DEBUG:
            return 0
        # The verifier's log comes in one call, its reason last: nothing is cut. A call uses up its va_list.
        again = ctypes.create_string_buffer(ctypes.string_at(arguments or 0, _VA_LIST), _VA_LIST)
        length = _vsnprintf(None, 0, template, arguments)
        buffer = ctypes.create_string_buffer(length + 1)
        _vsnprintf(buffer, ctypes.sizeof(buffer), template, again)
        self.lines.extend(buffer.value.decode(errors="replace").splitlines())
        return length

    def __enter__(self) -> "LibraryLog":
        for set_print in self._set_print:
            set_print(self._callback)
        return self

    def __exit__(self, *_: object) -> None:
        for set_print in self._set_print:
            set_print(None)

    def verdict(self) -> str:
        """Return the verifier's last line about the program; empty if the program never got that far."""
        log: list[str] = []
        for line in self.lines:
            if "END PROG LOAD LOG" in line:
                break
            if log or "BEGIN PROG LOAD LOG" in line:
                log.append(line.strip())
        reasons = [line for line in log[1:] if line and not line.startswith("processed ")]
        return reasons[-1] if reasons else ""

    def last(self) -> str:
        """Return the last line of the verifier, or else of the library."""
        return self.verdict() or (self.lines[-1].strip() if self.lines else "no reason given")
