# SPDX-License-Identifier: Apache-2.0
"""BTF written by hand, also such as no compiler writes, or no longer."""

import struct

from sidecar.describe.btf import BtfKind

SIGNED, CHAR, BOOL = 1, 2, 4


class Blob:
    """Types added one after the other; each method returns the new type's id."""

    def __init__(self):
        self.types = []
        self.strings = b"\0"

    def name(self, text):
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text.encode()) - 1

    def add(self, kind, name="", size=0, *, vlen=0, flag=False, tail=b""):
        info = flag << 31 | kind << 24 | vlen
        self.types.append(struct.pack("=III", self.name(name), info, size) + tail)
        return len(self.types)

    def int(self, name, size, flags=0, *, bits=None, offset=0):
        word = flags << 24 | offset << 16 | (8 * size if bits is None else bits)
        return self.add(BtfKind.INT, name, size, tail=struct.pack("=I", word))

    def typedef(self, name, target):
        return self.add(BtfKind.TYPEDEF, name, target)

    def array(self, element, count):
        return self.add(BtfKind.ARRAY, tail=struct.pack("=III", element, element, count))

    def struct(self, name, size, *members, kind=BtfKind.STRUCT):
        """Members are (name, type, bit offset) or, of bitfields, (name, type, bit offset, bits)."""
        flag = any(len(member) == 4 for member in members)
        tail = b"".join(
            struct.pack("=III", self.name(name), type_id, (bits[0] << 24 if bits else 0) | offset)
            for name, type_id, offset, *bits in members
        )
        return self.add(kind, name, size, vlen=len(members), flag=flag, tail=tail)

    def union(self, name, size, *members):
        return self.struct(name, size, *((name, type_id, 0) for name, type_id in members), kind=BtfKind.UNION)

    def enum(self, name, size, numbers, *, signed=False, wide=False):
        mask = (1 << 64) - 1 if wide else (1 << 32) - 1
        tail = b""
        for text, number in numbers:
            words = [number & 0xFFFFFFFF, *([(number & mask) >> 32] if wide else [])]
            tail += struct.pack(f"={1 + len(words)}I", self.name(text), *words)
        kind = BtfKind.ENUM64 if wide else BtfKind.ENUM
        return self.add(kind, name, size, vlen=len(numbers), flag=signed, tail=tail)

    def bytes(self, *, order="=", magic=0xEB9F, version=1, header=24):
        types = b"".join(self.types)
        head = struct.pack(
            f"{order}HBBIIIII", magic, version, 0, header, 0, len(types), len(types), len(self.strings)
        )
        return head.ljust(header, b"\0") + types + self.strings
