# SPDX-License-Identifier: Apache-2.0
import errno
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar import __version__, cli, config, errors
from sidecar.commands import log_flags
from sidecar.commands import registry as commands

ROOT = Path(__file__).parents[2]
COMMAND = str(Path(sys.executable).with_name("xdp-otel"))
MODULE = (sys.executable, "-m", "sidecar")
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ERROR (.+: .+: .+)\n")
SUBCOMMANDS = [command.name for command in commands.COMMANDS]
# The log of an interactive command has no time.
LINE_AT_A_TERMINAL = re.compile(r"ERROR (.+: .+: .+)\n")


@pytest.fixture
def run(tmp_path):
    """Run the command as a process, with no other variables than those given."""

    def call(*arguments, command=MODULE, **environ):
        return subprocess.run(
            [*command, *arguments],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "XDP_OTEL_STATE_DIR": str(tmp_path / "state"), **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


def error_of(done):
    """The message of a command whose only output is one line of error."""
    match = LINE.fullmatch(done.stderr) or LINE_AT_A_TERMINAL.fullmatch(done.stderr)
    assert match, done.stderr
    assert done.stdout == ""
    return match[1]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["--interval", "0"]])
def test_the_module_is_the_command(run, arguments):
    """`python -m sidecar` and `xdp-otel` are the same."""
    module, script = run(*arguments), run(*arguments, command=(COMMAND,))

    assert (module.returncode, module.stdout) == (script.returncode, script.stdout)
    assert module.stderr[24:] == script.stderr[24:]


def test_the_version_is_that_of_the_package(run):
    """Name and version, on standard output."""
    done = run("--version")

    assert (done.returncode, done.stdout, done.stderr) == (0, f"xdp-otel {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in SUBCOMMANDS)])
def test_every_help_has_examples_and_exit_codes(run, arguments):
    """Each help is complete."""
    done = run(*arguments)

    assert (done.returncode, done.stderr) == (0, "")
    assert "examples:\n  xdp-otel " in done.stdout
    assert "exit codes:\n" in done.stdout


def test_the_help_lists_every_exit_code(run):
    """Each class of errors has its own, documented code."""
    codes = {kind.exit_code for kind in errors.SidecarError.__subclasses__()} | {
        0,
        errors.SidecarError.exit_code,
    }
    documented = run("--help").stdout.partition("exit codes:\n")[2]

    assert {int(code) for code in re.findall(r"(?:^|  )\s*(\d+) [a-z]", documented, re.MULTILINE)} == codes


def test_run_is_the_default(run):
    """Flags without a subcommand are those of run."""
    named, bare = run("run", "--interval", "0"), run("--interval", "0")

    assert named.returncode == bare.returncode == 2
    assert error_of(named) == error_of(bare)


def test_the_bare_command_prints_short_help(run):
    """The commands in the order of the first hour. Not success: a unit may have lost its arguments."""
    done = run(XDP_OTEL_CONFIG="/nosuch.yaml")

    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) < 30
    listed = re.findall(r"^    ([a-z]+)(?:  |$)", done.stderr, re.MULTILINE)
    assert listed == ["discover", "check", "run", "top", "dump", "attach", "detach", "completion"]
    assert done.stderr.count("\n  xdp-otel ") >= 3


@pytest.mark.parametrize("arguments", [[], ["--help"], *([name, "--help"] for name in SUBCOMMANDS)])
def test_help_fits_the_terminal(run, arguments):
    """80 columns, with and without COLUMNS; in a narrow one, argparse wraps what it can."""
    for environ in ({}, {"COLUMNS": "80"}, {"COLUMNS": "200"}):
        done = run(*arguments, **environ)
        if environ.get("COLUMNS") != "200":
            assert max(map(len, (done.stdout + done.stderr).splitlines())) <= 80
    for columns in ("60", "20", "1", "0"):
        done = run(*arguments, COLUMNS=columns)
        assert (done.returncode, "Traceback" in done.stderr) == (0 if arguments else 2, False)


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (["--map-id", "1", "--interval", "soon"], {}, "cannot use --interval 'soon': not a time"),
        (["--map-id", "1"], {"OTEL_METRIC_EXPORT_INTERVAL": "1"}, "cannot use OTEL_METRIC_EXPORT_INTERVAL"),
        (
            ["--otel-endpoint", "here"],
            {},
            "cannot use --otel-endpoint",
        ),
        (
            ["run"],
            {"OTEL_EXPORTER_OTLP_HEADERS": "hunter2"},
            "cannot use OTEL_EXPORTER_OTLP_HEADERS: not KEY=VALUE,KEY=VALUE",
        ),
        (["--netns", "blue"], {}, "cannot use --netns blue: it goes with --interface"),
        (
            ["attach", "--interface", "a", "--interface", "a"],
            {},
            "cannot use --interface a: it is named twice",
        ),
        (
            ["detach", "--interface", "a b"],
            {},
            "cannot use --interface 'a b': no interface can have that name",
        ),
        (["run"], {}, "cannot choose what to read: no source: give --interface, "),
        (
            ["dump"],
            {},
            "cannot choose what to read: no source: give --interface, --map-path, --map-name, --map-id or",
        ),
        (
            ["discover", "--with-layout"],
            {},
            "cannot use --with-layout: it needs --write-config: name the map there",
        ),
        (["top", "--netns", "blue"], {}, "cannot use --netns blue: it goes with --interface"),
        (["check", "--map-id", "1", "--map-id", "1"], {}, "cannot read id:1: it is named twice"),
        (["dump", "--profile", "xdp-stats"], {}, "cannot use --profile xdp-stats: no flag names a map"),
        (
            ["dump", "--config", "/none.yaml"],
            {"XDP_OTEL_CONFIG": "/nosuch.yaml"},
            "cannot read /none.yaml: No such",
        ),
        (
            ["dump"],
            {"XDP_OTEL_CONFIG": "/nosuch.yaml"},
            "cannot read /nosuch.yaml: No such file or directory: name a YAML file that can be read in "
            "XDP_OTEL_CONFIG",
        ),
        (
            ["--map-id", "1", "--otel-endpoint", "https://c:1"],
            {"OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE": "/nowhere.pem"},
            "cannot read /nowhere.pem: ENOENT (No such file or directory): name a readable PEM file in "
            "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
        ),
        (
            ["--map-id", "1", "--otel-endpoint", "https://c:1", "--otel-certificate", "/nowhere.pem"],
            {},
            "cannot read /nowhere.pem: ENOENT (No such file or directory): name a readable PEM file in "
            "--otel-certificate",
        ),
    ],
)
def test_an_unusable_setting_is_one_line_and_code_2(run, arguments, environ, message):
    """Level, step, object, cause, remedy; no usage text, no traceback, nothing started."""
    done = run(*arguments, **environ)

    assert done.returncode == 2
    assert error_of(done).startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--intreval", "5"], " run: cannot use --intreval: unknown flag: did you mean --interval?"),
        (["--nonsense"], " run: cannot use --nonsense: unknown flag: `xdp-otel run --help` shows how"),
        (
            ["--otel-header=a=hunter2"],
            " run: cannot use --otel-header: unknown flag: did you mean --otel-headers",
        ),
        (["-interface", "eth0"], " run: cannot use -interface: unknown flag: did you mean --interface?"),
        (["--inter", "lo"], " run: cannot use --inter: unknown flag: did you mean --interval?"),
        (["--inter", "lo", "--otel", "x"], " run: cannot use --inter: unknown flag: "),
        (["run", "eth0"], " run: cannot use 'eth0': it belongs to no flag: `xdp-otel run --help` shows how"),
        (
            ["dump", "\u2013json"],
            " dump: cannot use '\u2013json': it belongs to no flag: did you mean --json?",
        ),
        (
            ["attach", "--interface", "lo", "--interval", "1"],
            " attach: cannot use --interval: unknown flag: ",
        ),
        (["attach"], " attach: cannot run: the following arguments are required: --interface: "),
        (["--interval"], " run: cannot use --interval: expected one argument: write --interval SECONDS"),
        (["--map-id", "stats"], " run: cannot use --map-id: 'stats' is not a map id: write --map-id ID"),
        (["--map-id", "-1"], " run: cannot use --map-id: "),
        (["--map-id", "٣"], " run: cannot use --map-id: "),
        (["--map-id", "4294967296"], " run: cannot use --map-id: '4294967296' is not a map id: "),
        (["--map-id", "4294967297"], " run: cannot use --map-id: '4294967297' is not a map id: "),
        (["dump", "--once"], " dump: cannot use --once: unknown flag: "),
        (["dump", "--json=5"], " dump: cannot use --json: "),
        (["discover", "--map-id", "1"], " discover: cannot use --map-id: unknown flag: "),
        (["dumb"], ": cannot use COMMAND: 'dumb' is unknown: did you mean 'dump'? It is one of discover, "),
        (["eth0"], ": cannot use COMMAND: 'eth0' is unknown: it is one of discover, "),
        (["completion"], " completion: cannot run: the following arguments are required: shell: "),
        (["completion", "bsh"], " completion: cannot use shell: 'bsh' is unknown: did you mean 'bash'? "),
        (
            ["completion", "tcsh"],
            " completion: cannot use shell: 'tcsh' is unknown: it is one of bash, zsh, fish",
        ),
        (
            ["top", "--interval", "0.05"],
            " top: cannot use --interval: '0.05' is not a time between 0.1 s and 86400 s: ",
        ),
        (["top", "--iterations", "0"], " top: cannot use --iterations: '0' is not a number from 1 to "),
        (["dump", "--series-limit", "-3"], " dump: cannot use --series-limit: "),
        (
            ["dump", "--interface", "a", "--netns", "x", "--interface", "b", "--netns", "y"],
            " dump: cannot use --netns: given twice: a configuration file can name one for each interface",
        ),
        (["--\x1b[2J\n\udcff"], " run: cannot use --\\x1b[2J\\n\\udcff: unknown flag: "),
    ],
)
def test_unknown_flags_and_invalid_values_are_one_line_and_code_2(run, arguments, message):
    """
    With the nearest name, and without the usage; what is quoted cannot control the terminal.

    Abbreviations are unknown; a map id of more than 32 bits is not truncated to another map's.
    """
    done = run(*arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"xdp-otel{message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["dump", "top"])
def test_the_counts_of_an_interface_that_does_not_exist(run, command):
    """The remedy is not to attach to it."""
    done = run(command, "--interface", "l0")

    assert (done.returncode, error_of(done)) == (
        3,
        "cannot read the counts of l0: no such interface: did you mean 'lo'? `ip link` shows the names",
    )


@pytest.mark.parametrize(
    ("command", "step"),
    [
        ("attach", "attach to"),
        ("detach", "detach from"),
        ("run", "attach to"),
        ("check", "attach to"),
        ("dump", "read the counts of"),
        ("top", "read the counts of"),
        ("discover", "list programs on"),
    ],
)
def test_an_interface_that_does_not_exist_is_code_3(run, command, step):
    """In every command. The message tells where to look, and names the network namespace."""
    done = run(command, "--interface", "no-such-if")
    assert done.returncode == 3
    assert done.stderr.endswith(
        f"ERROR cannot {step} no-such-if: no such interface: `ip link` shows the names\n"
    )

    done = run(command, "--interface", "l0")
    assert done.returncode == 3
    assert f"ERROR cannot {step} l0: no such interface: did you mean 'lo'? " in done.stderr

    done = run(command, "--interface", "no-such-if", "--netns", "no-such-ns")
    assert done.returncode == 3
    assert "ERROR cannot enter network namespace no-such-ns: ENOENT " in done.stderr


def test_a_source_of_a_file_that_does_not_exist_is_named_by_its_line(run, tmp_path):
    """All sources at once; the exit code is the first one's."""
    path = tmp_path / "flows.yaml"
    path.write_text("sources:\n- interface: l0\n- pin: /nowhere\n- interface: eth0x\n  netns: nosuch\n")
    done = run("dump", "--config", str(path))

    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    for number, line in enumerate(lines, 2):
        assert line.startswith(f"ERROR {path}:{number}: cannot ")


def test_all_errors_of_all_files_are_lines(run, tmp_path):
    """Up to fifty; the rest is a number."""
    for name, count in (("a", 1), ("b", 60)):
        (tmp_path / name).write_text("sources:\n" + "- pin: x\n" * count)
    done = run("dump", "--config", str(tmp_path / "b"), "--config", str(tmp_path / "a"))

    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert [line.split(": ")[0] for line in lines[:2]] == [f"ERROR {tmp_path}/{at}:2" for at in "ab"]
    assert lines[50:] == ["ERROR and 11 more errors"]


def test_an_unusable_state_directory_is_code_6(run, tmp_path):
    """Before any map is opened."""
    (tmp_path / "file").write_text("")
    done = run("--map-id", "1", "--state-dir", str(tmp_path / "file"))

    assert done.returncode == 6
    assert error_of(done).startswith(f"cannot open state directory {tmp_path / 'file'}: ENOTDIR ")
    done = run("--map-id", "1", XDP_OTEL_STATE_DIR=str(tmp_path / "file"))
    assert error_of(done).startswith(f"XDP_OTEL_STATE_DIR: cannot open state directory {tmp_path / 'file'}: ")


def test_a_closed_pipe_does_not_change_the_exit_code(run):
    """As in `xdp-otel 2>&1 | head -0`."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*MODULE, "--interval", "0"], cwd=ROOT, stdout=writer, stderr=writer, check=False
        )
    finally:
        os.close(writer)

    assert done.returncode == 2


def test_closed_standard_streams_do_no_harm(run):
    """The parent may have closed all three."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *MODULE, "--interval", "0"], cwd=ROOT, check=False
    )

    assert done.returncode == 2


@pytest.mark.parametrize(
    "argument", [b"--map-path=/\xff", b"--otel-headers=key=hunter2\xff", b"--state-dir=\xff"]
)
def test_an_argument_that_is_not_utf_8_is_refused(run, argument):
    """OTLP and gRPC cannot carry it. It may be a secret, so it is not shown."""
    done = run("run", "--map-id", "1", argument)

    assert (done.returncode, error_of(done)) == (
        2,
        "cannot use argument 4: it is not UTF-8: write it in UTF-8",
    )


@pytest.mark.parametrize(
    "variable",
    [
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_SERVICE_NAME",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "XDP_OTEL_CONFIG",
        "XDP_OTEL_STATE_DIR",
    ],
)
def test_a_variable_that_is_not_utf_8_is_refused(run, variable):
    """Only among the variables that we read."""
    done = run("--map-id", "1", **{variable: b"key=hunter2\xff"})

    assert (done.returncode, error_of(done)) == (
        2,
        f"cannot use {variable}: it is not UTF-8: set it in UTF-8",
    )
    assert run("--version", OTHER=b"\xff").returncode == 0


@pytest.mark.parametrize("most", [6, 9, 12, 63])
def test_too_few_open_files_are_one_line(run, most):
    """Without descriptors gRPC would abort the process."""
    shell = ("/bin/sh", "-c", f'ulimit -n {most}; exec "$@"', "sh", *MODULE)
    done = run("--map-id", "1", command=shell)

    assert (done.returncode, error_of(done)) == (
        5,
        f"cannot open files: no more than {most} may be open: "
        "allow 64 or more: `ulimit -n`, or LimitNOFILE= in systemd",
    )


def test_a_low_limit_of_open_files_is_raised(run):
    """Up to the hard limit."""
    shell = ("/bin/sh", "-c", 'ulimit -S -n 8; exec "$@"', "sh", *MODULE)

    assert run("completion", "bash", command=shell).returncode == 0


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            OSError(errno.EMFILE, "", "/lib/x.py"),
            5,
            "cannot open a file: EMFILE (Too many open files): raise the",
        ),
        (FileNotFoundError(errno.ENOENT, "", "/proc/self/task"), 5, "cannot open /proc/self/task: ENOENT ("),
        (MemoryError(), 5, "cannot allocate memory: "),
        (FileNotFoundError(errno.ENOENT, "", "/etc/x"), 70, "this is a bug"),
    ],
)
def test_lack_of_resources_is_no_bug(broken, caplog, error, code, words):
    """No /proc, no memory, no descriptors: one line, wherever it is raised."""
    broken(error)

    assert cli.main(["run"]) == code
    assert caplog.records[-1].message.startswith(words)


def test_a_closed_pipe_ends_output_quietly(run):
    """With the code of SIGPIPE, and without a message."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*MODULE, "completion", "bash"], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_is_one_line():
    """And no bug."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*MODULE, "completion", "bash"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (
        5,
        "ERROR cannot write the output: ENOSPC (No space left on device): "
        "make room there, or raise its limit\n",
    )


@pytest.fixture
def broken(monkeypatch):
    """Return a function that makes the command raise an error."""

    def raising(error):
        def fail(*_):
            raise error

        monkeypatch.setattr(config, "config_from", fail)

    return raising


def test_a_bug_is_code_70_with_a_traceback(broken, caplog):
    """Anything but a SidecarError is for us to fix."""
    broken(RuntimeError("oops"))

    assert cli.main(["run"]) == 70
    assert "RuntimeError: oops" in caplog.text
    assert "Traceback" in caplog.text


def test_an_interrupt_is_code_130(broken, caplog):
    """Ctrl-C before the first cycle is no bug."""
    broken(KeyboardInterrupt())

    assert cli.main(["run"]) == 130
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("kind", errors.SidecarError.__subclasses__())
def test_every_error_has_its_code(broken, caplog, kind):
    """And is logged as one line."""
    broken(kind("do it", "it cannot be done", "do something else"))

    assert cli.main(["run"]) == kind.exit_code
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.ERROR, "cannot do it: it cannot be done: do something else")
    ]


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (["run"], {}, "cannot choose what to read: no source: "),
        (["check", "--nosuch"], {}, "cannot use --nosuch: unknown flag"),
        (["top", "--interval", "x"], {}, "is not a time"),
        (["--config", "/nosuch.yaml"], {"XDP_OTEL_LOG_LEVEL": "debug"}, "cannot read /nosuch.yaml: "),
    ],
)
@pytest.mark.parametrize("by_flag", [True, False])
def test_errors_are_objects_where_json_was_chosen(run, arguments, environ, words, by_flag):
    """From the first on: those of the parser too."""
    chosen = {} if by_flag else {"XDP_OTEL_LOG_FORMAT": "json"}
    flag = ["--log-format", "json"] if by_flag else []
    done = run(*arguments, *flag, **environ, **chosen)
    members = json.loads(done.stderr)

    assert done.returncode == 2
    assert members["level"] == "error"
    assert words in members["message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", members["time"])


@pytest.mark.parametrize(
    ("name", "text", "known"),
    [
        ("XDP_OTEL_LOG_LEVEL", "loud", "error, warning, info, debug"),
        ("XDP_OTEL_LOG_FORMAT", "xml", "text, json"),
    ],
)
def test_an_unknown_level_or_format_is_code_2(run, name, text, known):
    """The variable is named; a flag is refused by the parser."""
    done = run("--interval", "0", **{name: text})

    assert done.returncode == 2
    assert error_of(done) == f"cannot use {name}={text!r}: unknown: set it to {known}"


@pytest.mark.parametrize(
    ("arguments", "environ", "level"),
    [
        ([], {}, logging.INFO),
        (["--debug"], {}, logging.DEBUG),
        (["--debug"], {"XDP_OTEL_LOG_LEVEL": "error"}, logging.DEBUG),
        (["--log-level", "warning"], {"XDP_OTEL_LOG_LEVEL": "error"}, logging.WARNING),
        ([], {"XDP_OTEL_LOG_LEVEL": "error"}, logging.ERROR),
        ([], {"XDP_OTEL_LOG_LEVEL": ""}, logging.INFO),
    ],
)
def test_the_level_is_a_flag_or_a_variable(arguments, environ, level):
    """The flag wins; `--debug` is one too."""
    flags = commands.parser().parse_args(["run", *arguments])

    assert log_flags.level(flags, environ) == level
