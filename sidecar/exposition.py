# SPDX-License-Identifier: Apache-2.0
"""
Prometheus' text format 0.0.4 (pure).

Our own few lines, since prometheus_client makes a float of every counter, wants `_total` on its name, and
costs 2 MB; it is the oracle in the tests. Format: prometheus.io/docs/instrumenting/exposition_formats.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sidecar.model import Series
from sidecar.profile import Profile
from sidecar.telemetry import Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def exposition(families: Iterable[Family], profile: Profile, series: Sequence[Series]) -> str:
    """Return the sidecar's own metrics, and the counters under the names that our Collector gives them."""
    return "".join(f"{line}\n" for line in (*_own(families), *_counters(profile, series)))


def _own(families: Iterable[Family]) -> Iterator[str]:
    for family in families:
        name = f"xdp_otel_{family.name}" + ("_total" if family.kind == "counter" else "")
        samples = (
            (dict(zip(family.labels, values, strict=True)), value) for values, value in family.samples.items()
        )
        yield from _metric(name, family.kind, family.help, samples)


def _counters(profile: Profile, series: Sequence[Series]) -> Iterator[str]:
    for at, instrument in profile.positions(profile.sums):
        samples = ((dict(one.attributes), one.totals[at]) for one in series)
        yield from _metric(f"xdp_{_name(instrument.name)}", "counter", instrument.description, samples)


def _metric(
    name: str, kind: str, text: str, samples: Iterable[tuple[Mapping[str, str | int], float]]
) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        pairs = ",".join(f'{_name(key)}="{str(said).translate(_ESCAPES)}"' for key, said in labels.items())
        yield f"{name}{{{pairs}}} {value}" if pairs else f"{name} {value}"


def _name(text: str) -> str:
    return text.replace(".", "_")
