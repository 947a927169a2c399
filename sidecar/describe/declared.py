# SPDX-License-Identifier: Apache-2.0
"""
The shape of a map without BTF as a program that uses it declares it (pure).

libbpf creates a map without BTF if the kernel refuses its types, as an array's key that is an enum or a
struct, or if `__type(key, …)` or `__type(value, …)` is missing. The program's BTF still has the declaration:
a variable in the section `.maps` whose members `key` and `value` point to the types (libbpf,
`parse_btf_map_def`); of a `struct bpf_map_def`, a `struct ____btf_map_NAME` (`BPF_ANNOTATE_KV_PAIR`).
"""

from collections.abc import Iterator
from dataclasses import replace

from sidecar.describe.btf import Btf, BtfKind
from sidecar.describe.btf_shape import shape_of
from sidecar.describe.resolve import opaque_key
from sidecar.describe.shape import Shape
from sidecar.kernel.syscall import MapInfo
from sidecar.kernel.uapi import OBJ_NAME_LEN


def declared_shape(btf: Btf, info: MapInfo) -> Shape | None:
    """
    Return the shape that a program declares for a map, or None.

    None as well if two maps of that name and these sizes differ: the kernel cuts names off at 15 bytes.
    """
    shapes = list(_of_these_sizes(btf, info))
    if not shapes or any(shape != shapes[0] for shape in shapes):
        return None
    shape = shapes[0]
    if info.kind.is_array or not shape.key:
        names = shape.key[0].names if len(shape.key) == 1 else {}
        shape = replace(shape, key=(replace(opaque_key(info), names=names),))
    return shape


def _of_these_sizes(btf: Btf, info: MapInfo) -> Iterator[Shape]:
    for key, value in (*_in_maps_section(btf, info.name), *_annotated(btf, info.name)):
        try:
            shape = shape_of(btf, key, value, info.key_size, info.value_size) if value else None
        except ValueError:
            continue
        if shape:
            yield shape


def _in_maps_section(btf: Btf, name: str) -> Iterator[tuple[int, int]]:
    """Yield the ids of the types of key and value, 0 for one that is not declared."""
    for section in btf.named(BtfKind.DATASEC, ".maps"):
        for variable in btf.type(section).members:
            if variable.name[: OBJ_NAME_LEN - 1] == name:
                members = {member.name: member.type_id for member in btf.peel(variable.type_id)[0].members}
                yield _pointed(btf, members.get("key", 0)), _pointed(btf, members.get("value", 0))


def _pointed(btf: Btf, type_id: int) -> int:
    pointer = btf.peel(type_id)[0]
    return pointer.target if pointer.kind is BtfKind.PTR else 0


def _annotated(btf: Btf, name: str) -> Iterator[tuple[int, int]]:
    for struct in btf.named(BtfKind.STRUCT, f"____btf_map_{name}"):
        members = {member.name: member.type_id for member in btf.type(struct).members}
        yield members.get("key", 0), members.get("value", 0)
