# SPDX-License-Identifier: Apache-2.0
"""
The types of a map's key and value as its program declares them (pure).

libbpf creates a map without types if the kernel refuses them: those of an array whose key is an enum, say.
The program's BTF still has them, in the section `.maps`: a variable for each map, a struct whose members
`key` and `value` are pointers to the types (libbpf, `parse_btf_map_def`).
"""

from sidecar.describe.btf import Btf, BtfKind
from sidecar.kernel.uapi import OBJ_NAME_LEN


def types_of(btf: Btf, map_name: str) -> tuple[int, int] | None:
    """
    Return the type ids of key and value of the map that the kernel knows by this name, cut to 15 characters.

    None if the program declares no such map, several, or one without types.

    Raises:
        ValueError: The BTF is damaged.

    """
    section = btf.section(".maps")
    members = section.members if section else ()
    found = [each.type_id for each in members if each.name[: OBJ_NAME_LEN - 1] == map_name]
    if len(found) != 1:
        return None
    definition, _ = btf.peel(found[0])
    pointers = {each.name: btf.peel(each.type_id)[0] for each in definition.members}
    key, value = pointers.get("key"), pointers.get("value")
    if key is None or value is None or {key.kind, value.kind} != {BtfKind.PTR}:
        return None
    return key.target, value.target
