# SPDX-License-Identifier: Apache-2.0
"""
Completion scripts for bash, zsh and fish, made from the parser, so that no flag can be forgotten (pure).

argparse has no public way to list what a parser takes; the attributes that are read here are those that shtab
and argcomplete read, too.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote

_INTERFACES = "ls /sys/class/net"
_NAMESPACES = "ls /run/netns 2>/dev/null"
# What a value is, by its metavar: files, directories, or what a shell command prints.
_FILES = ("PIN", "FILE", "PROFILE", "MAP")
_DIRECTORIES = ("DIR",)
_LISTED = {"IF": _INTERFACES, "NETNS": _NAMESPACES}


@dataclass(frozen=True)
class _Flag:
    names: tuple[str, ...]
    help: str
    metavar: str
    takes_value: bool


@dataclass(frozen=True)
class _Command:
    name: str
    help: str
    flags: tuple[_Flag, ...]
    words: tuple[str, ...]  # what its argument may be


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for *shell*: bash, zsh or fish."""
    make = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    return "\n".join(make(parser.prog, list(_commands(parser)))) + "\n"


def _commands(parser: argparse.ArgumentParser) -> Iterator[_Command]:
    """Yield the commands; the first one, without a name, has the flags of the program itself."""
    subparsers = next(one for one in parser._actions if isinstance(one, argparse._SubParsersAction))  # noqa: SLF001
    yield _command("", "", parser)
    helps = {one.dest: one.help or "" for one in subparsers._choices_actions}  # noqa: SLF001
    for name, sub in subparsers.choices.items():
        yield _command(name, helps[name], sub)


def _command(name: str, text: str, parser: argparse.ArgumentParser) -> _Command:
    actions = [one for one in parser._actions if not isinstance(one, argparse._SubParsersAction)]  # noqa: SLF001
    flags = tuple(
        _Flag(tuple(one.option_strings), one.help or "", str(one.metavar or ""), one.nargs != 0)
        for one in actions
        if one.option_strings
    )
    words = tuple(word for one in actions if not one.option_strings for word in one.choices or ())
    return _Command(name, text, flags, words)


def _bash(program: str, commands: list[_Command]) -> Iterator[str]:
    function = f"_{program.replace('-', '_')}"
    yield f"# bash completion for {program}"
    yield f"{function}() {{"
    yield '\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=""'
    yield "\tCOMPREPLY=()"
    yield "\tcase $before in"
    for flags, action in _by_value(commands):
        reply = {
            "files": '-f -- "$word"',
            "directories": '-d -- "$word"',
            "": '-W "" -- "$word"',
        }.get(action, f'-W "$({action})" -- "$word"')
        options = "compopt -o filenames 2>/dev/null; " if action in ("files", "directories") else ""
        yield f"\t{'|'.join(flags)}) {options}mapfile -t COMPREPLY < <(compgen {reply}); return ;;"
    yield "\tesac"
    yield "\tcase ${COMP_WORDS[1]} in"
    root, *others = commands
    for command in others:
        yield f"\t{command.name}) words={quote(' '.join((*command.words, *_names(command))))} ;;"
    yield "\tesac"
    first = [*(one.name for one in others), *_names(root)]
    yield f"\t((COMP_CWORD > 1)) || words={quote(' '.join(first))}"
    run = next(one for one in others if one.name == "run")
    yield f"\t[[ ${{COMP_WORDS[1]}} != -* ]] || words+={quote(' ' + ' '.join(_names(run)))}"
    yield '\tmapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")'
    yield "}"
    yield f"complete -F {function} {program}"


def _zsh(program: str, commands: list[_Command]) -> Iterator[str]:
    function = f"_{program}"
    root, *others = commands
    yield f"#compdef {program}"
    yield f"{function}() {{"
    yield "\tif ((CURRENT == 2)) && [[ $words[2] != -* ]]; then"
    names = " ".join(quote(f"{one.name}:{one.help}") for one in others)
    yield f"\t\tlocal -a commands=({names})"
    yield "\t\t_describe command commands"
    yield "\t\treturn"
    yield "\tfi"
    yield "\tlocal command=$words[2]"
    yield "\tif [[ $command != -* ]]; then"
    yield "\t\tshift words"
    yield "\t\t((CURRENT--))"
    yield "\tfi"
    yield "\tcase $command in"
    for command in others:
        pattern = f"{command.name}|-*" if command.name == "run" else command.name
        flags = (*command.flags, *root.flags) if command.name == "run" else command.flags
        yield f"\t{pattern})"
        yield "\t\t_arguments \\"
        yield from (f"\t\t\t{_zsh_flag(name, flag)} \\" for flag in flags for name in flag.names)
        yield f"\t\t\t{quote('1:word:(' + ' '.join(command.words) + ')') if command.words else ''}"
        yield "\t\t;;"
    yield "\tesac"
    yield "}"
    yield f"compdef {function} {program} 2>/dev/null"
    yield f'[[ $funcstack[1] != {function} ]] || {function} "$@"'


def _zsh_flag(name: str, flag: _Flag) -> str:
    text = flag.help.replace("[", "(").replace("]", ")").replace(":", " -")
    if not flag.takes_value:
        return quote(f"*{name}[{text}]")
    value = {"files": "_files", "directories": "_files -/", "": " "}.get(
        _action(flag), f"{{compadd -- $({_action(flag)})}}"
    )
    return quote(f"*{name}[{text}]:{flag.metavar.replace(':', ' ')}:{value}")


def _fish(program: str, commands: list[_Command]) -> Iterator[str]:
    root, *others = commands
    yield f"# fish completion for {program}"
    yield f"complete -c {program} -f"
    for flag in root.flags:
        yield f"complete -c {program} -n __fish_use_subcommand {_fish_flag(flag)}"
    for command in others:
        yield f"complete -c {program} -n __fish_use_subcommand -a {command.name} -d {quote(command.help)}"
        seen = f"-n {quote(f'__fish_seen_subcommand_from {command.name}')}"
        for flag in command.flags:
            yield f"complete -c {program} {seen} {_fish_flag(flag)}"
        if command.words:
            yield f"complete -c {program} {seen} -a {quote(' '.join(command.words))}"


def _fish_flag(flag: _Flag) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
    value = {
        "files": " -r -F",
        "directories": " -x -a '(__fish_complete_directories)'",
        "": " -x",
    }.get(_action(flag), f" -x -a '({_action(flag)})'")
    return f"{names}{value if flag.takes_value else ''} -d {quote(flag.help)}"


def _by_value(commands: list[_Command]) -> Iterator[tuple[list[str], str]]:
    """Yield the flags that take a value, by what the value is."""
    found: dict[str, dict[str, None]] = {}
    for command in commands:
        for flag in command.flags:
            if flag.takes_value:
                found.setdefault(_action(flag), {}).update(dict.fromkeys(flag.names))
    for action, names in found.items():
        yield list(names), action


def _action(flag: _Flag) -> str:
    """Return `files`, `directories`, a shell command that lists the values, or nothing."""
    if flag.metavar in _FILES:
        return "files"
    return "directories" if flag.metavar in _DIRECTORIES else _LISTED.get(flag.metavar, "")


def _names(command: _Command) -> list[str]:
    return [name for flag in command.flags for name in flag.names]
