# SPDX-License-Identifier: Apache-2.0
"""
Data points as bytes with places to fill in: a series by the bytes that say it (pure).

    point = tag 1 · length · numbers · attributes (tag 7)
    numbers of a sum = tag 2 · start · tag 3 · time · tag 6 · as_int

Start, time and value are fixed64: in a point's bytes they never move (`metrics.proto`, NumberDataPoint). The
fields are in the order of their numbers, as the generated classes write them. A series is named by its
attributes as they end its points: no two lists of attributes have the same bytes.
"""

from sidecar.attributes import varint

_ZERO = bytes(8)
_TAG = b"\x0a"

# The numbers of a point, still zero.
SUM = b"\x11" + _ZERO + b"\x19" + _ZERO + b"\x31" + _ZERO
INTEGER = b"\x19" + _ZERO + b"\x31" + _ZERO
DOUBLE = b"\x19" + _ZERO + b"\x21" + _ZERO

# How long the window of a base point is. Any state of the stream is newer, so only who has none takes it.
BASE_NS = 1

# Where the places are, from the end of the length.
START, TIME, VALUE = 1, 10, 19
GAUGE_TIME, GAUGE_VALUE = 1, 10


def front(numbers: bytes, attributes: int) -> bytes:
    """Return how a point begins that has so many bytes of attributes: all that is before them."""
    return _TAG + varint(len(numbers) + attributes) + numbers
