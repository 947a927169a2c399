# SPDX-License-Identifier: Apache-2.0
"""How many examples a property is tried with, and where they come from."""

import os

from hypothesis import settings

_FEW = 100


def register():
    """
    Register the two profiles of hypothesis, and load the first.

    `ci` draws the same examples each time: what one run finds wrong, every run finds wrong. What was found
    stays, readable, as an @example of its test. `explore` draws others for each seed (tests/explore.py).
    """
    # On a busy machine any example may take long.
    settings.register_profile("ci", deadline=None, derandomize=True, database=None, max_examples=_FEW)
    settings.register_profile(
        "explore",
        deadline=None,
        database=None,
        print_blob=True,
        max_examples=int(os.environ.get("EXPLORE_EXAMPLES") or 3 * _FEW),
    )
    settings.load_profile("ci")


def examples(few):
    """Try *few* examples, because each takes long, but when exploring as many as everywhere."""
    exploring = settings.get_current_profile_name() == "explore"
    return settings() if exploring else settings(max_examples=few)
