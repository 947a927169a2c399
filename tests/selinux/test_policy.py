# SPDX-License-Identifier: Apache-2.0
"""
The SELinux modules, compiled and linked with Debian's whole policy: `make test-selinux`.

No rule is enforced here: it shows that the modules fit together, and which rights they give.
"""

import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from demo.processes import ROOT

# Where the packages selinux-policy-dev and selinux-policy-default have put their files.
SHARE = Path(os.environ.get("SELINUX_SHARE", "/usr/share/selinux"))
HERE = Path(__file__).parent
SOURCES = ("Makefile", "xdp_otel.fc", "xdp_otel.if", "xdp_otel.te", "xdp_otel_container.te")
DOMAINS = ("xdp_otel_t", "xdp_otel_container_t")
COUNTING = {"map_create", "map_read", "map_write", "prog_load", "prog_run"}
WRITING = {"write", "append", "create", "unlink", "add_name", "remove_name", "setattr", "rename"}


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def linked(tmp_path_factory):
    """Compile the modules, and link them with Debian's into a policy; return its path."""
    for tool in ("checkmodule", "semodule_package", "semodule", "sesearch", "m4"):
        assert shutil.which(tool), f"no {tool}: install checkpolicy semodule-utils policycoreutils setools m4"
    modules = sorted(SHARE.glob("default/*.pp.bz2"))
    assert modules, "no policy: install selinux-policy-default selinux-policy-dev, or set SELINUX_SHARE"
    sources, store = (tmp_path_factory.mktemp(name) for name in ("sources", "store"))
    given = [ROOT / "deploy/selinux" / name for name in SOURCES]
    for path in (*given, HERE / "container.te"):
        shutil.copy(path, sources)
    output = run("make", "-C", sources, f"SHAREDIR={SHARE}", "NAME=default", "TYPE=mcs")
    assert "warning" not in output.lower(), output
    for directory in ("var/lib/selinux/default", "etc/selinux/default"):
        (store / directory).mkdir(parents=True)
    own = sorted(sources.glob("*.pp"))
    assert [path.stem for path in own] == ["container", "xdp_otel", "xdp_otel_container"]
    run("semodule", "-p", store, "-s", "default", "-N", "-n", "-X", "400", "-i", *modules, *own)
    (policy,) = store.glob("etc/selinux/default/policy/policy.*")
    return policy


@pytest.fixture(scope="module")
def rights(linked):
    """Return the rules of each domain, not of its attributes: {domain: {(target, class): permissions}}."""
    found = {domain: defaultdict(set) for domain in DOMAINS}
    for domain in DOMAINS:
        for rule in run("sesearch", "--allow", "--source", domain, "-ds", linked).splitlines():
            matched = re.fullmatch(r"allow \S+ (\S+):(\S+) (?:\{ (.+) \}|(\S+));(?: \[ \S+ \]:\S+)?", rule)
            target, kind, several, one = matched.groups()
            if "[" not in rule:
                found[domain][target, kind] |= set((several or one).split())
    return found


@pytest.mark.parametrize("domain", DOMAINS)
def test_capabilities(rights, domain):
    """Those of docs/rights.md to attach, and no other: above all not sys_admin and dac_override."""
    assert rights[domain][domain, "capability"] == {"net_admin"}
    assert rights[domain][domain, "capability2"] == {"bpf", "perfmon"}


@pytest.mark.parametrize("domain", DOMAINS)
def test_bpf(rights, domain):
    """Everything with maps and programs of its own, nothing with others'."""
    assert rights[domain][domain, "bpf"] == COUNTING
    assert {target for target, kind in rights[domain] if kind == "bpf"} == {domain}


@pytest.mark.parametrize(
    ("domain", "files"),
    [
        # What Debian's policy gives every daemon: what systemd has opened for it.
        ("xdp_otel_t", {"bpf_t", "xdp_otel_var_lib_t", "init_tmpfs_t"}),
        ("xdp_otel_container_t", {"bpf_t"}),
    ],
)
def test_written_files(rights, domain, files):
    """It may change pins and its state, and no other file."""
    written = {
        target
        for (target, kind), permissions in rights[domain].items()
        if kind in ("file", "dir", "lnk_file") and permissions & WRITING and target != domain
    }
    assert written == files


def test_other_maps_take_a_boolean(linked):
    """Maps of other domains can be read once the administrator says so."""
    rules = run("sesearch", "--allow", "--source", "xdp_otel_t", "-ds", "--class", "bpf", linked)
    assert "allow xdp_otel_t domain:bpf { map_read prog_run }; [ xdp_otel_read_all_maps ]:True" in rules


def test_the_service_starts_in_its_domain(linked):
    """systemd, which sets NoNewPrivileges, changes to the domain when it executes the command."""
    rules = run("sesearch", "--type_trans", "--source", "init_t", "--target", "xdp_otel_exec_t", linked)
    assert "type_transition init_t xdp_otel_exec_t:process xdp_otel_t;" in rules
    rules = run("sesearch", "--allow", "--source", "init_t", "--target", "xdp_otel_t", "-ds", "-dt", linked)
    assert "nnp_transition" in rules
