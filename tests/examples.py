# SPDX-License-Identifier: Apache-2.0
"""How many examples a property gets, and how they are drawn."""

import os

from hypothesis import settings

_FEW = 100


def register():
    """
    Register the profiles of Hypothesis and load the first.

    `ci` draws the same examples each time, so a failure is reproducible; a failing example is added to its
    test as an @example. `explore` draws other examples for each seed (tests/explore.py). `brief` is for
    emulated machines, where everything takes ten times as long (tests/kernels).
    """
    # On a busy machine, any example may take long.
    settings.register_profile("ci", deadline=None, derandomize=True, database=None, max_examples=_FEW)
    settings.register_profile(
        "explore",
        deadline=None,
        database=None,
        print_blob=True,
        max_examples=int(os.environ.get("EXPLORE_EXAMPLES") or 3 * _FEW),
    )
    settings.register_profile("brief", settings.get_profile("ci"), max_examples=10)
    settings.load_profile("ci")


def examples(few):
    """Use *few* examples, because each takes long, except where the profile says how many."""
    return settings(max_examples=few) if settings.get_current_profile_name() == "ci" else settings()
