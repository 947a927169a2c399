# SPDX-License-Identifier: Apache-2.0
"""Boot Debian's kernels under QEMU, run the kernel tests and one end-to-end run in each, and tabulate."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator

from tests.kernel import compiled
from tests.kernels import machine, packages, results
from tests.kernels.packages import ROOT, Kernel, UnavailableError

_LIMIT_S = 4 * 3600


def main() -> int:
    """Return the exit code: 0 if all tests passed on all kernels, else 1."""
    chosen = _arguments()
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # not on that of users other than root
    try:
        for architecture in {kernel.architecture for kernel in chosen.kernels}:
            machine.require(architecture)
    except UnavailableError as error:
        print(f"test-kernels: {error}", file=sys.stderr)
        return 1
    packages.OBJECTS.mkdir(parents=True, exist_ok=True)
    for source in compiled.MAPS.glob("*.bpf.c"):
        compiled.compile_object(source, packages.OBJECTS / f"{source.name}.o")
    reports = []
    unavailable = 0
    for kernel in chosen.kernels:
        try:
            reports.append(_report(kernel, chosen.tests, keep=chosen.keep))
        except UnavailableError as error:
            print(f"test-kernels: {error}", file=sys.stderr)
            unavailable += 1
    print(results.table(reports))
    if chosen.write:
        results.write(results.table(_present()))
    for line in results.failures(reports):
        print(f"FAILED {line}")
    return 0 if reports and not unavailable and all(report.is_good for report in reports) else 1


def _present() -> Iterator[results.Report]:
    """Yield what is known of each kernel, from this run or an earlier one."""
    for kernel in packages.KERNELS:
        if (kernel.directory / "results").exists():
            try:
                yield results.read(kernel.name, kernel.directory / "results")
            except UnavailableError as error:
                print(f"test-kernels: not in the table: {error}", file=sys.stderr)


def _report(kernel: Kernel, tests: list[str], *, keep: bool) -> results.Report:
    files = packages.unpacked(kernel)
    directory = kernel.directory / "results"
    if not keep:
        shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(exist_ok=True)
    # In the machine, the checkout is where it is here.
    command = ("/usr/bin/env", f"--chdir={ROOT}", sys.executable, "-m", "tests.kernels.guest", *tests)
    print(f"kernel {kernel.name} ({files.version})", flush=True)
    try:
        machine.run(kernel, files, command, results=directory, limit_s=_LIMIT_S)
    except TimeoutError:
        print(f"test-kernels: cannot finish on {kernel.name}: stopped after {_LIMIT_S} s", file=sys.stderr)
    return results.read(kernel.name, directory)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.kernels",
        description=__doc__,
        epilog="What else is given goes to pytest (default: tests/kernel and one end-to-end run).",
    )
    names = [kernel.name for kernel in packages.KERNELS]
    parser.add_argument("--kernels", default=",".join(names), help=f"only these (default: {','.join(names)})")
    parser.add_argument("--keep", action="store_true", help="add to the results of earlier runs")
    parser.add_argument("--write", action="store_true", help="put the table into bpf/README.md")
    chosen, chosen.tests = parser.parse_known_args()
    chosen.kernels = list(_named(chosen.kernels, names, parser))
    return chosen


def _named(text: str, names: list[str], parser: argparse.ArgumentParser) -> Iterator[Kernel]:
    for name in filter(None, text.split(",")):
        if name not in names:
            parser.error(f"no kernel {name!r}: there are {', '.join(names)}")
        yield packages.KERNELS[names.index(name)]


if __name__ == "__main__":
    sys.exit(main())
