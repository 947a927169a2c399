# SPDX-License-Identifier: Apache-2.0
"""
Whether a field of a map's value is a count, a level or neither, judged by its name and type (pure).

Used for fields that the user does not configure. In doubt a field is a count: a level mistaken for a count
shows as soon as it falls, a count that was left out is not missed until it is needed. docs/metrics.md has the
rules for users.
"""

import re
from enum import Enum

from sidecar.describe.shape import Part
from sidecar.model import Aggregate


class Meaning(Enum):
    """
    What an integer means.

    COUNT: only grows, or, if signed, counts up and down.
    LEVEL: rises and falls, and can be summed over CPUs: tokens, the length of a queue, a rate.
    NON_ADDITIVE: rises and falls, and cannot be summed: a mean, a maximum, a state.
    TIME: a time, or the state at some past time.
    IDENTIFIER: not a quantity: flags, ids, ports, addresses, padding.
    """

    COUNT = "a count"
    LEVEL = "a level"
    NON_ADDITIVE = "a value that cannot be summed"
    TIME = "a time, or the state at a past time"
    IDENTIFIER = "an id, flags or an address"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# As in English, the last word, before any unit, is the noun that says what the field is.
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
_NON_ADDITIVE = _words("min max mean avg average median minimum maximum peak ewma ema stddev variance")
_NON_ADDITIVE |= _words(
    "p50 p90 p95 p99 lifetime ttl hoplimit window wnd cwnd rwnd ssthresh state status mode phase"
)
_GREATEST, _LEAST = _words("max maximum peak"), _words("min minimum")
_NON_ADDITIVE |= _words("age uptime rtt srtt jitter gap iat")
_ANYWHERE = _words("min max mean avg average median minimum maximum")
_SPENT = _words(
    "total sum run runtime busy idle cpu spent elapsed wait waited blocked stall sleep active acc cum "
    "cumulative accumulated oncpu offcpu throttled exec user system sys proc processing service"
)
_TIMES = _words("ts tstamp timestamp time ktime jiffies at expires expire expiry expiration deadline")
_WITH_UNIT = _TIMES | _words("start end begin first seen created updated arrival now boot epoch")
_LEVELS = _words("tokens credits credit budget rate pps bps qps qlen inflight occupancy watermark depth")
_PRESENT = _words("cur curr current")
_IDENTIFIERS = _words(
    "flags id pid tgid tid uid gid ifindex cookie seq seqno addr address saddr daddr mac smac dmac"
)
_IDENTIFIERS |= _words("pad padding reserved unused")
# Counters have such names too, but hardly in 16 bits.
_NARROW_IDENTIFIERS = _words("port sport dport proto protocol family ethertype vlan")
_WHOSE = _words("src dst source dest destination client server peer remote local virtual real")
_TYPES = {
    **dict.fromkeys(("ktime_t", "time64_t", "time_t"), Meaning.TIME),
    **dict.fromkeys(("pid_t", "uid_t", "gid_t", "kuid_t", "kgid_t", "dev_t", "umode_t"), Meaning.IDENTIFIER),
}


def meaning_of(part: Part) -> Meaning:
    """Return what an integer of a value means."""
    words = _split(part.name)
    meaning = _TYPES.get(part.type) or (_by_words(words, part.bits) if words else None)
    if meaning is None and part.big_endian and part.bits < 64:
        return Meaning.IDENTIFIER  # network order: copied from a packet
    return meaning or Meaning.COUNT


def aggregate_of(part: Part) -> Aggregate:
    """
    Return how a gauge of a field is combined over CPUs, as its name tells.

    It is the latest of several times (`first_*`: the earliest), the greatest maximum, the least minimum, or
    else the sum.
    """
    words = frozenset(_split(part.name))
    meaning = meaning_of(part)
    if meaning is Meaning.TIME:
        return "min" if "first" in words else "max"
    if meaning is Meaning.NON_ADDITIVE and words & _GREATEST:
        return "max"
    return "min" if meaning is Meaning.NON_ADDITIVE and words & _LEAST else "sum"


def _split(name: str) -> list[str]:
    """Return the words of a name without array indices: `rx.lastSeen_ns.3` is rx, last, seen, ns."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return [word for word in re.split(r"[._]+", snake) if word and not word.isdigit()]


def _by_words(words: list[str], bits: int) -> Meaning | None:
    """Return the meaning that the words suggest, or None."""
    every, last = frozenset(words), words[-1]
    if every & _PAST:
        return Meaning.TIME
    is_event = last in _EVENTS or (_PARTICIPLE.fullmatch(last) and last not in _IDENTIFIERS)
    if is_event or _FAULTS.intersection(words[:-1]):
        return Meaning.COUNT
    if every & _ANYWHERE:
        return Meaning.NON_ADDITIVE
    if last in _QUANTITIES:
        return Meaning.COUNT
    return _of_time(words) or _of_anything(words, bits)


def _of_time(words: list[str]) -> Meaning | None:
    """Return the meaning of a name that denotes a time or ends in a unit of time; None for others."""
    head = [word for word in words if word not in _UNITS]
    every, has_unit = frozenset(head), 0 < len(head) < len(words) and words[-1] in _UNITS
    first_of = "first" in every and not words[-1].endswith("s")
    if not has_unit and words[-1] not in _TIMES and not first_of and words[-1] != "seen":
        return None
    if every & (_SPENT | _QUANTITIES) or words == ["seen"]:
        return Meaning.COUNT
    return Meaning.TIME if every & _WITH_UNIT else Meaning.NON_ADDITIVE


def _of_anything(words: list[str], bits: int) -> Meaning | None:
    last = words[-1]
    if not _TOTALS.isdisjoint(words):
        return Meaning.COUNT
    if last in _LEVELS or (len(words) > 1 and words[0] in _PRESENT):
        return Meaning.LEVEL
    if last in _NON_ADDITIVE:
        return Meaning.NON_ADDITIVE
    bare = last.rstrip("0123456789")  # pad2, reserved1
    is_address = last in ("ip", "ip4", "ip6") and not _WHOSE.isdisjoint(words[:-1])
    if bare in _IDENTIFIERS or is_address or (last in _NARROW_IDENTIFIERS and bits <= 16):
        return Meaning.IDENTIFIER
    return None
