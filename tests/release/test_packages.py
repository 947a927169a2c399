# SPDX-License-Identifier: Apache-2.0
"""DEB and RPM unpacked: files, modes, what they depend on, their scripts. test_deb.py installs the DEBs."""

import os
import re
import shutil
import stat
import subprocess
import zipfile
from importlib.metadata import PathDistribution

import pytest

from demo.processes import ROOT
from release.architectures import of_this_machine
from sidecar import __version__
from sidecar.commands import registry

NAMES = ("otelcol-xdp", "xdp-otel")
FILES = {
    ("deb", "amd64"): "{name}_{version}-1_amd64.deb",
    ("deb", "arm64"): "{name}_{version}-1_arm64.deb",
    ("rpm", "amd64"): "{name}-{version}-1.x86_64.rpm",
    ("rpm", "arm64"): "{name}-{version}-1.aarch64.rpm",
}
# e_machine of ELF (elf.h).
MACHINES = {"amd64": 62, "arm64": 183}
PYTHONS = {"deb": {"311", "312", "313", "314"}, "rpm": {"312"}}
# Configuration that an upgrade leaves as it is once it was edited.
KEPT = {
    "otelcol-xdp": ["/etc/xdp-otel/collector.yaml", "/etc/xdp-otel/otelcol-xdp.env"],
    "xdp-otel": ["/etc/xdp-otel/xdp-otel.env"],
}
RPM_REQUIRES = {
    "otelcol-xdp": {"systemd"},
    "xdp-otel": {"bash", "glibc >= 2.28", "libbpf.so.1()(64bit)", "python(abi) = 3.12", "systemd"},
}
# What lintian calls an error in any package that brings its own libraries, and what we mean.
MEANT = {
    "binary-from-other-architecture": "the BPF programs",
    "embedded-library": "libyaml and zlib of PyPI's wheels, which are shipped as they were tested",
    "library-not-linked-against-libc": "numpy's wheel",
    "malformed-deb-archive": "zstd, which dpkg reads from Debian 12 on",
    "statically-linked-binary": "Go",
    "unstripped-binary-or-object": "PyPI's wheels",
}


def said(*command, timeout_s=120):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


def package(name, kind, architecture):
    return ROOT / "dist" / FILES[kind, architecture].format(name=name, version=__version__)


def query(name, architecture, *what):
    return said("rpm", "-qp", *what, package(name, "rpm", architecture))


@pytest.fixture(scope="module", params=FILES, ids="-".join)
def unpacked(request, tmp_path_factory):
    """Both packages of a kind and an architecture in one root."""
    kind, architecture = request.param
    root = tmp_path_factory.mktemp("root")
    for name in NAMES:
        path = package(name, kind, architecture)
        if kind == "deb":
            said("dpkg-deb", "--extract", path, root)
        else:
            flags = ("--force-debian", "--nodeps", "--noscripts", "--ignorearch")
            said("rpm", "--root", root, *flags, "--install", path)
    yield kind, architecture, root
    shutil.rmtree(root)


def test_a_package_brings_all_that_the_services_need(unpacked):
    kind, _, root = unpacked
    zsh = {"deb": "vendor-completions", "rpm": "site-functions"}[kind]
    documents = [path.name for path in (ROOT / "docs").glob("*.md")]
    expected = [
        *("usr/bin/xdp-otel", "usr/bin/otelcol-xdp", "usr/lib/xdp-otel/detach-all"),
        *("usr/lib/sysusers.d/xdp-otel.conf", "usr/lib/tmpfiles.d/xdp-otel.conf"),
        *("usr/lib/xdp-otel/python/sidecar/xdp_packet_counter.bpf.o", "usr/share/man/man1/xdp-otel.1.gz"),
        *(f"usr/share/man/man1/xdp-otel-{command.name}.1.gz" for command in registry.COMMANDS),
        "usr/share/man/man5/xdp-otel.yaml.5.gz",
        *("usr/share/bash-completion/completions/xdp-otel", f"usr/share/zsh/{zsh}/_xdp-otel"),
        "usr/share/fish/vendor_completions.d/xdp-otel.fish",
        *(f"usr/share/doc/xdp-otel/docs/{name}" for name in documents),
        *("usr/share/doc/xdp-otel/LICENSE.GPL-2.0", "usr/share/doc/otelcol-xdp/licenses/go/LICENSE"),
        *(
            f"usr/share/doc/{name}/{file}"
            for name in NAMES
            for file in ("copyright", "LICENSE", f"{name}.cdx.json")
        ),
        *(path.removeprefix("/") for paths in KEPT.values() for path in paths),
    ]
    assert [path for path in expected if not (root / path).is_file()] == []


def test_programs_are_for_the_architecture_and_the_pythons(unpacked):
    """The extension modules of one Python as of another."""
    kind, architecture, root = unpacked
    programs = {"usr/bin/otelcol-xdp": (root / "usr/bin/otelcol-xdp").read_bytes()[:20]}
    modules: dict[str, set[str]] = {}
    for path in (root / "usr/lib/xdp-otel/python").rglob("*.so*"):
        programs[str(path.relative_to(root))] = path.read_bytes()[:20]
        name = re.fullmatch(r"(.*)\.cpython-(\d+)-\w+-linux-gnu\.so", path.name)
        if name:
            modules.setdefault(f"{path.parent}/{name[1]}", set()).add(name[2])

    machines = {path: int.from_bytes(head[18:20], "little") for path, head in programs.items()}
    assert set(machines.values()) == {MACHINES[architecture]}, machines
    assert {frozenset(each) for each in modules.values()} == {frozenset(PYTHONS[kind])}
    first = (root / "usr/bin/xdp-otel").read_text().splitlines()[0]
    assert first == f"#!/usr/bin/{'python3' if kind == 'deb' else 'python3.12'} -IS"


def test_the_modules_are_loaded(unpacked):
    """By each of the Pythons that is here, without its own packages."""
    kind, architecture, root = unpacked
    if architecture != of_this_machine():
        pytest.skip("not for this machine")
    names = (f"python{version[0]}.{version[1:]}" for version in sorted(PYTHONS[kind]))
    found = [
        name
        for name in names
        if shutil.which(name) and subprocess.run((name, "-V"), check=False).returncode == 0
    ]
    if not found:
        pytest.skip("none of the package's Pythons is here")
    modules = f"{root}/usr/lib/xdp-otel/python"
    code = f"import sys; sys.path.append('{modules}'); import grpc, numpy, yaml.cyaml, sidecar.run"
    for name in found:
        said(name, "-IS", "-c", code)


def test_modes_are_those_of_a_system(unpacked):
    """All belongs to root, nothing is writable for others; what may hold a secret is read by root only."""
    _, _, root = unpacked
    paths = [
        path
        for path in root.rglob("*")
        if path.parts[len(root.parts)] in ("etc", "usr") and not path.is_symlink()
    ]
    modes = {str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in paths}
    executable = [name for name, mode in modes.items() if mode & 0o111 and not (root / name).is_dir()]
    assert sorted(executable) == ["usr/bin/otelcol-xdp", "usr/bin/xdp-otel", "usr/lib/xdp-otel/detach-all"]
    assert {mode for name, mode in modes.items() if name.endswith("xdp-otel.env")} == {0o600}
    assert set(modes.values()) == {0o600, 0o644, 0o755}
    assert {(path.stat().st_uid, path.stat().st_gid) for path in paths} == {(0, 0)}


def test_nothing_names_the_machine_that_built_it(unpacked):
    """Neither in a text nor in what pip records; a unit has the places of the package."""
    _, _, root = unpacked
    texts = [
        path
        for path in root.rglob("*")
        if path.is_file() and path.suffix in (".service", ".json", ".txt", ".py")
    ]
    assert [path for path in texts if str(ROOT).encode() in path.read_bytes()] == []
    for name in NAMES:
        unit = (root / f"usr/lib/systemd/system/{name}.service").read_text()
        assert f"ExecStart=/usr/bin/{name} " in unit
        assert "/opt/" not in unit
        assert "deploy/systemd" not in unit


@pytest.mark.parametrize("architecture", MACHINES)
@pytest.mark.parametrize("name", NAMES)
def test_an_edited_configuration_is_kept(name, architecture):
    """It is a conffile for dpkg, and %config(noreplace) for RPM."""
    assert said("dpkg-deb", "--info", package(name, "deb", architecture), "conffiles").split() == KEPT[name]
    listed = query(name, architecture, "--queryformat", "[%{FILENAMES} %{FILEFLAGS:fflags}\n]").splitlines()
    assert [line for line in listed if line.endswith("cn")] == [f"{path} cn" for path in KEPT[name]]


@pytest.mark.parametrize("architecture", MACHINES)
@pytest.mark.parametrize("name", NAMES)
def test_a_package_says_whom_to_write_to_and_where_it_is_from(name, architecture):
    """Maintainer and links are those of the wheel, whose metadata is pyproject.toml's."""
    (wheel,) = (ROOT / "dist").glob("*.whl")
    metadata = PathDistribution(zipfile.Path(wheel, f"xdp_otel-{__version__}.dist-info/")).metadata
    who = metadata["Maintainer-email"] or f"{metadata['Maintainer']} <nobody@xdp-otel.invalid>"
    page = os.environ.get("SOURCE_URL", "")

    fields = ("--field", package(name, "deb", architecture), "Maintainer", "Homepage")
    expected = {f"Maintainer: {who}"} | ({f"Homepage: {page}"} if page else set())
    assert set(said("dpkg-deb", *fields).splitlines()) == expected
    assert query(name, architecture, "--queryformat", "%{PACKAGER}|%{URL}") == f"{who}|{page or '(none)'}"
    links = [link.split(", ")[1] for link in metadata.get_all("Project-URL", [])]
    assert (len(links), [link for link in links if not link.startswith(page)]) == (4 if page else 0, [])


@pytest.mark.parametrize("architecture", MACHINES)
@pytest.mark.parametrize("name", NAMES)
def test_an_rpm_requires_what_it_needs(name, architecture):
    required = query(name, architecture, "--requires").splitlines()
    assert {each for each in required if "rpmlib(" not in each} == RPM_REQUIRES[name]


@pytest.mark.parametrize("architecture", MACHINES)
@pytest.mark.parametrize("name", NAMES)
def test_an_rpm_has_the_scripts_of_the_deb(name, architecture):
    """Those that test_deb.py runs; they take RPM's arguments 0, 1 and 2 too."""
    for tag, file in (("POSTIN", "postinst"), ("PREUN", "prerm"), ("POSTUN", "postrm")):
        script = (ROOT / f"release/nfpm/{name}.{file}").read_text().strip()
        assert query(name, architecture, "--queryformat", f"%{{{tag}}}").strip() == script
        assert said("dpkg-deb", "--info", package(name, "deb", architecture), file).strip() == script


@pytest.mark.parametrize("architecture", MACHINES)
@pytest.mark.parametrize("name", NAMES)
def test_an_rpm_owns_no_directory_of_the_system(name, architecture):
    listed = query(name, architecture, "--queryformat", "[%{FILENAMES} %{FILEMODES:perms}\n]").splitlines()
    directories = [line.split()[0] for line in listed if line.split()[1].startswith("d")]
    assert [path for path in directories if not re.search(r"/(xdp-otel|otelcol-xdp)(/|$)", path)] == []


@pytest.mark.skipif(shutil.which("lintian") is None, reason="no lintian here")
@pytest.mark.timeout(600)  # it looks at every library with half a dozen programs
@pytest.mark.parametrize("name", NAMES)
def test_lintian_has_no_other_error(name):
    path = package(name, "deb", "amd64")
    command = ("lintian", "--allow-root", "--no-cfg", "--fail-on", "none", "--tag-display-limit", "0", path)
    errors = {
        line.split()[2] for line in said(*command, timeout_s=500).splitlines() if line.startswith("E: ")
    }
    assert errors - MEANT.keys() == set()
