# SPDX-License-Identifier: Apache-2.0
"""Completion scripts, run by the shells themselves."""

import argparse
import os
import shutil
import subprocess

import pytest

from sidecar.commands import completion, registry
from sidecar.commands.registry import COMMANDS

SHELLS = ("bash", "zsh", "fish")


def script(shell):
    return completion.script(registry.parser(), shell)


@pytest.fixture
def bash(tmp_path):
    """Return a function that completes the last of some words in bash."""
    (tmp_path / "script").write_text(script("bash"))

    def complete(*words):
        program = (
            'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
            '_xdp_otel; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        command = ["bash", "-uc", program, "-", tmp_path / "script", "xdp-otel", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return [line for line in done.stdout.splitlines() if line]

    return complete


def flags_of(name):
    parser = argparse.ArgumentParser()
    next(command for command in COMMANDS if command.name == name).add_flags(parser)
    return {flag for action in parser._actions for flag in action.option_strings}


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_every_flag_of_every_command_is_offered(bash, name):
    """And no flag of another command."""
    assert set(bash(name, "-")) == flags_of(name)


def test_the_first_word_is_a_command_or_a_flag_of_run(bash):
    """`run` is the default: its flags may come first."""
    assert bash("d") == ["discover", "dump", "detach"]
    assert set(bash("")) >= {command.name for command in COMMANDS}
    assert set(bash("-")) == flags_of("run") | {"--version"}
    assert set(bash("--map-id", "3", "--")) == {flag for flag in flags_of("run") if flag.startswith("--")}


def test_known_values_are_offered(bash, tmp_path):
    """Interfaces, files, directories, choices; nothing for free text."""
    (tmp_path / "flows.yaml").write_text("")
    (tmp_path / "state").mkdir()

    assert set(bash("attach", "--interface", "")) == set(os.listdir("/sys/class/net"))
    assert set(bash("dump", "--config", "")) == {"script", "flows.yaml", "state"}
    assert bash("run", "--state-dir", "") == ["state"]
    assert bash("completion", "z") == ["zsh"]
    assert bash("dump", "--map-id", "") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_parses_the_script(shell, tmp_path):
    """Help texts are quoted: no syntax error."""
    (tmp_path / "script").write_text(script(shell))
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_offers_commands_flags_and_interfaces(tmp_path):
    """By fish's own completion engine."""
    (tmp_path / "script").write_text(script("fish"))

    def complete(line):
        program = f"source {tmp_path / 'script'}; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", program],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        return {offer.partition("\t")[0] for offer in done.stdout.splitlines()}

    assert complete("xdp-otel ") >= {command.name for command in COMMANDS}
    assert complete("xdp-otel dump --") == {flag for flag in flags_of("dump") if flag.startswith("--")}
    assert complete("xdp-otel top --interface ") == set(os.listdir("/sys/class/net"))
    assert complete("xdp-otel completion ") == set(SHELLS)


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_offers_commands_and_flags(tmp_path):
    """By zsh's completion system, on a terminal of its own, from a file in fpath."""
    (tmp_path / "_xdp-otel").write_text(script("zsh"))
    program = r"""
        zmodload zsh/zpty
        zpty z zsh -f -i
        zpty -w z 'PROMPT= fpath=($1 $fpath); autoload -U compinit; compinit -u -D'
        while read -r line wanted; do
            seen=
            zpty -w -n z "xdp-otel ${line//_/ }"$'\t'
            repeat 200; do
                sleep 0.05
                while zpty -r -t z some; do seen+=$some; done
                # The terminal may have broken the line.
                [[ ${seen//[[:space:]]/} == *$wanted* ]] && break
            done && print -r -- "$wanted"
            zpty -w -n z $'\x15'
        done
    """.replace("$1", str(tmp_path))
    wanted = {
        "disc": "xdp-oteldiscover",
        "dump_--ser": "xdp-oteldump--series-limit",
        "completion_f": "xdp-otelcompletionfish",
        "--map-n": "xdp-otel--map-name",
    }
    done = subprocess.run(
        ["zsh", "-f", "-c", program],
        input="".join(f"{typed} {whole}\n" for typed, whole in wanted.items()),
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.split() == list(wanted.values())
