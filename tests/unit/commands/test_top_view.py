# SPDX-License-Identifier: Apache-2.0
"""What `top` shows, without a map or a terminal."""

import os
import re

import pytest

from sidecar.commands.table import bold, fitted, shortened, table
from sidecar.commands.top_view import Counted, Meter, View, plain, screen
from sidecar.errors import printable
from sidecar.observe.summary import plural

FIVE = ("saddr", "daddr", "sport", "dport", "protocol")


def meter(*counts, seconds=2.0, totals=None):
    series = tuple(
        Counted((("name", f"key{at}"),), count, (totals or counts)[at]) for at, count in enumerate(counts)
    )
    return Meter("pin:/a: map a, id 1, HASH", len(series), ("packets", "bytes"), series, seconds)


def counter(fields=8):
    """Return a meter like that of the shipped program: one key, many fields."""
    names = tuple(
        f"{name}_packets" for name in ("total", "icmp", "tcp", "udp", "other", "ipv4", "ipv6", "vlan")
    )
    counts = tuple(10**at for at in range(fields))
    series = (Counted((("network.interface.name", "eth0"),), counts, counts),)
    return Meter("interface:eth0: map packets, id 1, PERCPU_ARRAY", 1, names[:fields], series, 1.0)


def flows(many=50):
    """Return a meter with the key of a flow."""
    series = tuple(
        Counted(
            tuple(zip(FIVE, (f"192.0.2.{at}", "198.51.100.77", 40000 + at, 443, "tcp"), strict=True)),
            (at * 1_234_567, at * 987_654_321),
            (at, at),
        )
        for at in range(many)
    )
    return Meter("pin:/sys/fs/bpf/flows: map flows, id 1, LRU_HASH", many, ("packets", "bytes"), series, 1.0)


def shown(*meters, view=None, columns=80, rows=24, **options):
    return screen("12:00:00", meters, view or View(), os.terminal_size((columns, rows)), **options)


def names(lines):
    return [line.split()[0] for line in lines if line.startswith("key")]


def after(*keys):
    view = View()
    for key in keys:
        view = view.after(key)
    return view


def test_rates_are_per_second_and_the_highest_comes_first():
    """The counts of two seconds, halved."""
    assert plain("12:00:00", [meter((10, 100), (4000, 7), (0, 5))]) == [
        "12:00:00  per second, over 2.0 s",
        "",
        "pin:/a: map a, id 1, HASH, 3 keys",
        "name  packets  bytes",
        "key1  2,000.0    3.5",
        "key0      5.0   50.0",
        "key2      0.0    2.5",
    ]


def test_rates_sort_by_magnitude():
    """The rate of an updowncounter may be negative; the largest change is first."""
    lines = plain("12:00:00", [meter((1, 0), (-8, 0))])

    assert [line.split()[:2] for line in lines[4:]] == [["key1", "-4.0"], ["key0", "0.5"]]


def test_keys_choose_the_order():
    """By rate, by total (which is then shown), by key, and by another field."""
    one = meter((10, 1), (30, 2), (20, 3), totals=[(5, 0), (6, 0), (7000, 0)])

    assert names(shown(one)) == ["key1", "key2", "key0"]
    assert names(shown(one, view=after("k"))) == ["key0", "key1", "key2"]
    assert names(shown(one, view=after("f"))) == ["key2", "key1", "key0"]
    assert names(shown(one, view=after("f", "f"))) == ["key1", "key2", "key0"]
    by_total = shown(one, view=after("t"))
    assert names(by_total) == ["key2", "key1", "key0"]
    assert by_total[0] == "12:00:00  since each map was created"
    assert "key2    7,000      0" in by_total
    assert shown(one, view=after("t", "r")) == shown(one)
    assert shown(one, view=after("x", "Z", "enter", "backspace")) == shown(one)


def test_the_filter_is_typed():
    """Letters are text until Enter or Escape; all or part of `name=value` matches, in either case."""
    typing = after("/", *"KEY1q")

    assert typing.filter == "KEY1q"
    assert not typing.quits("q")
    assert shown(meter((1, 1)), view=typing)[-1].startswith("/KEY1q_")
    done = typing.after("backspace").after("enter")
    assert done.quits("q")
    lines = shown(meter((1, 1), (2, 2), (3, 3)), view=done)
    assert names(lines) == ["key1"]
    assert "pin:/a: map a, id 1, HASH, 3 keys, 1 of 3 shown" in lines
    assert "filter KEY1  Esc clears" in lines[-1]
    assert done.after("escape") == typing.after("escape") == View()
    assert "dport=443" in shown(flows(), view=after("/", *"dport=443"))[-1]
    assert "none" in shown(flows(), view=after("/", *"dport=80"))


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 keys"), (1, "1 key"), (2, "2 keys"), (2000, "2,000 keys")]
)
def test_plurals(count, text):
    """One key has no s."""
    assert plural(count, "key") == text


def test_series_that_do_not_fit_are_summarized():
    """Two sources share the screen; what the smaller one leaves is for the larger one."""
    lines = shown(meter(*((at, 0) for at in range(50))), meter((1, 1)), rows=20)

    assert len(lines) == 20
    assert len(names(lines)) == 10 + 1
    assert "… and 40 more" in lines
    assert lines[-1].startswith("q quit")


@pytest.mark.parametrize("columns", [40, 41, 60, 79, 80, 120, 200])
@pytest.mark.parametrize("rows", [3, 6, 10, 24, 50])
@pytest.mark.parametrize("make", [counter, flows])
def test_a_rate_is_never_cut(make, columns, rows):
    """From 40 columns on keys are cut instead, with an ellipsis, and each line ends in a whole number."""
    one = make()
    whole = {f"{count:,.1f}" for series in one.series for count in series.counts}
    lines = shown(one, columns=columns, rows=rows)
    ends = [line.split()[-1] for line in lines if re.search(r"\d\.\d$", line)]

    assert len(lines) == rows
    assert max(map(len, lines)) <= columns
    assert ends
    assert set(ends) <= whole


def test_keys_are_cut_with_an_ellipsis():
    """The longest parts first; where little of them would be left, each key has a line of its own."""
    assert shown(flows(), columns=80, rows=8)[4] == (
        "192.0.2.49  198.51.100.…  40049  443    tcp       60,493,783.0  48,395,061,729.0"
    )
    assert shown(flows(), columns=40, rows=12)[3:11] == [
        "saddr daddr sport dport protocol",
        "192.0.2.49 198.51.100.77 40049 443 tcp",
        "  packets      60,493,783.0",
        "  bytes    48,395,061,729.0",
        "192.0.2.48 198.51.100.77 40048 443 tcp",
        "  packets      59,259,216.0",
        "  bytes    47,407,407,408.0",
        "… and 48 more",
    ]


def test_few_lines_keep_what_matters():
    """First blank lines go, then titles; the last of all is a rate."""
    for rows in range(1, 12):
        for columns in (1, 10, 40):
            lines = shown(*[meter((5, 6), (7, 8))] * 3, columns=columns, rows=rows, message="a log line")

            assert len(lines) == rows
            assert max(map(len, lines)) <= columns
    assert shown(meter((5, 6)), rows=3)[1].split() == ["name", "packets", "bytes"]
    assert shown(meter((5, 6)), rows=4)[2].split() == ["key0", "2.5", "3.0"]


def test_the_newest_log_line_is_above_the_help():
    """Where it does not hide the rates."""
    assert shown(meter((1, 1)), message="map replaced")[-2:] == [
        "map replaced",
        "q quit  r rate  t total  k key  / filter  f next field",
    ]
    assert "map replaced" not in shown(meter((1, 1)), message="map replaced", rows=4)


def test_help_names_only_keys_that_work():
    """All those of 40 columns; none without a keyboard."""
    assert shown(meter((1, 1)), columns=40)[-1] == "q quit  r rate  t total  k key  / filter"
    assert shown(meter((1, 1)), has_keys=False)[-1] == "Ctrl-C quits"


def test_columns_are_aligned_and_nothing_trails():
    """Numbers are right-aligned; no line ends in spaces."""
    assert table(["a", "n"], [["long", "1"], ["b", "1,000"]], numbers=[1]) == [
        "a         n",
        "long      1",
        "b     1,000",
    ]


def test_a_table_is_fitted():
    """The longest texts give way first, and never to fewer characters than asked."""
    rows = [["abcdefghij", "abcd", "1,000"]]

    def fit(width, least):
        lines = fitted(["x", "y", "n"], rows, numbers=[2], width=width, least=least)
        return lines and lines[1]

    assert fit(99, 3) == fit(23, 3) == "abcdefghij  abcd  1,000"
    assert fit(18, 3) == "abcd…  abcd  1,000"
    assert fit(15, 3) == "ab…  ab…  1,000"
    assert fit(14, 3) is None
    assert fitted(["n"], [["1,000"]], numbers=[0], width=4, least=1) is None
    assert [shortened("abc", length) for length in range(5)] == ["", "…", "a…", "abc", "abc"]


def test_names_cannot_control_the_terminal():
    """The name of a pin may contain any character except slash and dot."""
    assert printable("a\x1b[2Jb\nc\u202ed é") == "a\\x1b[2Jb\\nc\\u202ed é"


def test_only_a_capable_terminal_gets_bold_text(monkeypatch):
    """Plain text without a terminal, with NO_COLOR, and on a dumb terminal."""

    class Terminal:
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert bold("x", Terminal()) == "\x1b[1mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert bold("x", Terminal()) == "x"
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "dumb")
    assert bold("x", Terminal()) == "x"
