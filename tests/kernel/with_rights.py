# SPDX-License-Identifier: Apache-2.0
"""
Run xdp-otel as a user with exactly these capabilities: UID GID CAPABILITY,... ARGUMENT...

Everything is imported before the capabilities are dropped, so that a checkout in a home directory that only
its owner may enter can be tested. This uses no code of the sidecar.
"""

import ctypes
import importlib
import os
import pkgutil
import sys

# numpy, which is imported before the capabilities are dropped, starts threads with capabilities of their own.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import sidecar
from sidecar import cli
from sidecar.describe.file import sources

NUMBERS = {
    "DAC_OVERRIDE": 1,
    "DAC_READ_SEARCH": 2,
    "NET_ADMIN": 12,
    "SYS_ADMIN": 21,
    "PERFMON": 38,
    "BPF": 39,
}
KEEPCAPS, CAPBSET_DROP = 8, 24

libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def become(uid, gid, names):
    wanted = [NUMBERS[name] for name in names.split(",") if name]
    for number in set(range(41)) - set(wanted):
        libc.prctl(CAPBSET_DROP, number, 0, 0, 0)
    check(libc.prctl(KEEPCAPS, 1, 0, 0, 0))
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    mask = sum(1 << number for number in wanted)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    check(
        libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0))
    )


if __name__ == "__main__":
    for module in pkgutil.walk_packages(sidecar.__path__, "sidecar."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    # Imported late, by codecs, by the SDK's Resource and by argparse.
    list(sources.built_in())
    "localhost".encode("idna")
    for module in ("difflib", "hashlib", "uuid", "shutil"):
        importlib.import_module(module)
    become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
    sys.exit(cli.main(sys.argv[4:]))
