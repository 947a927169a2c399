# SPDX-License-Identifier: Apache-2.0
"""
Completion scripts for bash, zsh and fish, generated from the parser (pure).

argparse has no public API to list the flags of a parser; the private attributes read here are
those that shtab and argcomplete read too.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from shlex import quote

# The values of a flag, by its metavar: `files`, `directories`, or a shell command that lists them.
_VALUES = {
    "PIN": "files",
    "FILE": "files",
    "PROFILE": "files",
    "MAP": "files",
    "DIR": "directories",
    "IF": "ls /sys/class/net",
    "NETNS": "ls /run/netns 2>/dev/null",
}


@dataclass(frozen=True)
class _Flag:
    """A flag; *values* is one of `_VALUES`, empty if unknown, None if the flag takes no value."""

    names: tuple[str, ...]
    help: str
    metavar: str
    values: str | None


@dataclass(frozen=True)
class _Command:
    """A command, its flags, and the choices of its positional argument."""

    name: str
    help: str
    flags: tuple[_Flag, ...]
    choices: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        return (*self.choices, *_names(self.flags))


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for *shell*: bash, zsh or fish."""
    write = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    subparsers = next(
        action
        for action in parser._actions  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction)  # noqa: SLF001
    )
    helps = {choice.dest: choice.help or "" for choice in subparsers._choices_actions}  # noqa: SLF001
    commands = [_command(name, helps[name], sub) for name, sub in subparsers.choices.items()]
    return "\n".join(write(parser.prog, _command("", "", parser), commands)) + "\n"


def _command(name: str, help_text: str, parser: argparse.ArgumentParser) -> _Command:
    flags: list[_Flag] = []
    choices: list[str] = []
    for action in parser._actions:  # noqa: SLF001
        if action.option_strings:
            metavar = str(action.metavar or "")
            values = None if action.nargs == 0 else _VALUES.get(metavar, "")
            flags.append(_Flag(tuple(action.option_strings), action.help or "", metavar, values))
        elif not isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            choices += action.choices or ()
    return _Command(name, help_text, tuple(flags), tuple(choices))


def _names(flags: Sequence[_Flag]) -> list[str]:
    return [name for flag in flags for name in flag.names]


def _bash(program: str, root: _Command, commands: list[_Command]) -> Iterator[str]:
    function = f"_{program.replace('-', '_')}"
    run = next(command for command in commands if command.name == "run")
    yield f"# bash completion for {program}"
    yield f"{function}() {{"
    yield '\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=""'
    yield "\tCOMPREPLY=()"
    yield "\tcase $before in"
    yield from _bash_values(commands)
    yield "\tesac"
    yield "\tcase ${COMP_WORDS[1]} in"
    for command in commands:
        yield f"\t{command.name}) words={quote(' '.join(command.words))} ;;"
    yield "\tesac"
    first = [*(command.name for command in commands), *root.words]
    yield f"\t((COMP_CWORD > 1)) || words={quote(' '.join(first))}"
    yield f"\t[[ ${{COMP_WORDS[1]}} != -* ]] || words+={quote(' ' + ' '.join(run.words))}"
    yield '\tmapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")'
    yield "}"
    yield f"complete -F {function} {program}"


def _bash_values(commands: list[_Command]) -> Iterator[str]:
    names: dict[str, dict[str, None]] = {}
    for command in commands:
        for flag in command.flags:
            if flag.values is not None:
                names.setdefault(flag.values, {}).update(dict.fromkeys(flag.names))
    for values, flags in names.items():
        listed = {"files": "-f", "directories": "-d", "": '-W ""'}.get(values, f'-W "$({values})"')
        options = "compopt -o filenames 2>/dev/null; " if values in ("files", "directories") else ""
        reply = f'{options}mapfile -t COMPREPLY < <(compgen {listed} -- "$word")'
        yield f"\t{'|'.join(flags)}) {reply}; return ;;"


def _zsh(program: str, root: _Command, commands: list[_Command]) -> Iterator[str]:
    function = f"_{program}"
    yield f"#compdef {program}"
    yield f"{function}() {{"
    yield "\tif ((CURRENT == 2)) && [[ $words[2] != -* ]]; then"
    names = " ".join(quote(f"{command.name}:{command.help}") for command in commands)
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
    for command in commands:
        is_default = command.name == "run"
        yield f"\t{command.name}{'|-*' if is_default else ''})"
        yield "\t\t_arguments \\"
        flags = (*command.flags, *root.flags) if is_default else command.flags
        yield from (f"\t\t\t{_zsh_flag(name, flag)} \\" for flag in flags for name in flag.names)
        yield f"\t\t\t{quote('1:word:(' + ' '.join(command.choices) + ')') if command.choices else ''}"
        yield "\t\t;;"
    yield "\tesac"
    yield "}"
    yield f"compdef {function} {program} 2>/dev/null"
    yield f'[[ $funcstack[1] != {function} ]] || {function} "$@"'


def _zsh_flag(name: str, flag: _Flag) -> str:
    text = flag.help.replace("[", "(").replace("]", ")").replace(":", " -")
    if flag.values is None:
        return quote(f"*{name}[{text}]")
    values = {"files": "_files", "directories": "_files -/", "": " "}.get(
        flag.values, f"{{compadd -- $({flag.values})}}"
    )
    return quote(f"*{name}[{text}]:{flag.metavar.replace(':', ' ')}:{values}")


def _fish(program: str, root: _Command, commands: list[_Command]) -> Iterator[str]:
    first = f"complete -c {program} -n __fish_use_subcommand"
    yield f"# fish completion for {program}"
    yield f"complete -c {program} -f"
    for flag in root.flags:
        yield f"{first} {_fish_flag(flag)}"
    for command in commands:
        yield f"{first} -a {command.name} -d {quote(command.help)}"
        later = f"complete -c {program} -n {quote(f'__fish_seen_subcommand_from {command.name}')}"
        for flag in command.flags:
            yield f"{later} {_fish_flag(flag)}"
        if command.choices:
            yield f"{later} -a {quote(' '.join(command.choices))}"


def _fish_flag(flag: _Flag) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
    values = {
        None: "",
        "files": " -r -F",
        "directories": " -x -a '(__fish_complete_directories)'",
        "": " -x",
    }.get(flag.values, f" -x -a '({flag.values})'")
    return f"{names}{values} -d {quote(flag.help)}"
