# SPDX-License-Identifier: Apache-2.0
"""
What a field of a map's value means, by its name and its type: a count, a level, or neither (pure).

It is asked about fields of which the user says nothing. In doubt a field is a count: a level that is taken
for one shows as soon as it falls, a count that is left out is not missed until it is needed. The table for
people is in docs/metrics.md.
"""

import re
from enum import Enum

from sidecar.describe.shape import Part


class Meaning(Enum):
    """
    What an integer is.

    COUNT: what only grows, or, signed, is counted up and down.
    LEVEL: it rises and falls, and those of several CPUs add up: tokens, the length of a queue, a rate.
    FIGURE: it rises and falls, and a sum of several says nothing: a mean, a maximum, a state.
    MOMENT: a time, or what was the case at the last one.
    MARK: no quantity: flags, ids, ports, addresses, padding.
    """

    COUNT = "a count"
    LEVEL = "a level"
    FIGURE = "a figure that does not add up"
    MOMENT = "a moment, or what was then"
    MARK = "an id, flags or an address"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# A name is read as English reads it: the last word, behind which a unit may stand, says what it is.
_UNITS = _words("ns us ms nsec usec msec nsecs usecs msecs sec secs seconds nanos nanoseconds")
_PAST = _words("last prev previous")
_QUANTITIES = _words("packets pkts bytes octets frames")
_EVENTS = _words(
    "hits hit misses miss errors errs err error drops drop fails failures losses lost sent retransmits "
    "retrans overflow overflows overruns changes calls events"
)
_PARTICIPLE = re.compile(r"[a-z]{3,}[^e]ed")  # dropped, exceeded; not speed
_FAULTS = _words("bad invalid wrong unknown no not missing illegal zero low over under of unsupported")
_TOTALS = _words("total sum count counter cnt num nr")
_FIGURES = _words("min max mean avg average median minimum maximum peak ewma ema stddev variance")
_FIGURES |= _words(
    "p50 p90 p95 p99 lifetime ttl hoplimit window wnd cwnd rwnd ssthresh state status mode phase"
)
_FIGURES |= _words("age uptime rtt srtt jitter gap iat")
_ANYWHERE = _words("min max mean avg average median minimum maximum")
_SPENT = _words(
    "total sum run runtime busy idle cpu spent elapsed wait waited blocked stall sleep active acc cum "
    "cumulative accumulated oncpu offcpu throttled exec user system sys proc processing service"
)
_MOMENTS = _words("ts tstamp timestamp time ktime jiffies at expires expire expiry expiration deadline")
_WITH_UNIT = _MOMENTS | _words("start end begin first seen created updated arrival now boot epoch")
_LEVELS = _words("tokens credits credit budget rate pps bps qps qlen inflight occupancy watermark depth")
_PRESENT = _words("cur curr current")
_MARKS = _words(
    "flags id pid tgid tid uid gid ifindex cookie seq seqno addr address saddr daddr mac smac dmac"
)
_MARKS |= _words("pad padding reserved unused")
# A counter may be called so too; but hardly one of 16 bits.
_NARROW_MARKS = _words("port sport dport proto protocol family ethertype vlan")
_WHOSE = _words("src dst source dest destination client server peer remote local virtual real")
_TYPES = {
    **dict.fromkeys(("ktime_t", "time64_t", "time_t"), Meaning.MOMENT),
    **dict.fromkeys(("pid_t", "uid_t", "gid_t", "kuid_t", "kgid_t", "dev_t", "umode_t"), Meaning.MARK),
}


def meaning_of(part: Part) -> Meaning:
    """Return what an integer of a value is, of which nobody says it."""
    words = _in_words(part.name)
    found = _TYPES.get(part.type) or (_by_words(words, part.bits) if words else None)
    if found is None and part.big_endian and part.bits < 64:
        return Meaning.MARK  # network order: a copy of what was in a packet
    return found or Meaning.COUNT


def _in_words(name: str) -> list[str]:
    """Return `rx.lastSeen_ns.3` as rx, last, seen, ns: without the places in arrays."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return [word for word in re.split(r"[._]+", apart) if word and not word.isdigit()]


def _by_words(words: list[str], bits: int) -> Meaning | None:
    """Return what the words say, or None if they say nothing."""
    every, last = frozenset(words), words[-1]
    if every & _PAST:
        return Meaning.MOMENT
    happened = last in _EVENTS or (_PARTICIPLE.fullmatch(last) and last not in _MARKS)
    if happened or _FAULTS.intersection(words[:-1]):
        return Meaning.COUNT
    if every & _ANYWHERE:
        return Meaning.FIGURE
    if last in _QUANTITIES:
        return Meaning.COUNT
    return _of_time(words) or _of_anything(words, bits)


def _of_time(words: list[str]) -> Meaning | None:
    """Return what a name says that is a moment's, or ends in a unit of time; None for others."""
    head = [word for word in words if word not in _UNITS]
    every, has_unit = frozenset(head), 0 < len(head) < len(words) and words[-1] in _UNITS
    first_of = "first" in every and not words[-1].endswith("s")
    if not has_unit and words[-1] not in _MOMENTS and not first_of and words[-1] != "seen":
        return None
    if every & (_SPENT | _QUANTITIES) or words == ["seen"]:
        return Meaning.COUNT
    return Meaning.MOMENT if every & _WITH_UNIT else Meaning.FIGURE


def _of_anything(words: list[str], bits: int) -> Meaning | None:
    last = words[-1]
    if not _TOTALS.isdisjoint(words):
        return Meaning.COUNT
    if last in _LEVELS or (len(words) > 1 and words[0] in _PRESENT):
        return Meaning.LEVEL
    if last in _FIGURES:
        return Meaning.FIGURE
    bare = last.rstrip("0123456789")  # pad2, reserved1
    an_address = last in ("ip", "ip4", "ip6") and not _WHOSE.isdisjoint(words[:-1])
    if bare in _MARKS or an_address or (last in _NARROW_MARKS and bits <= 16):
        return Meaning.MARK
    return None
