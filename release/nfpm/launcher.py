#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""xdp-otel with the packages that it was tested with: -IS leaves out all that are installed elsewhere."""

import sys

sys.path.insert(0, "/usr/lib/xdp-otel/python")

from sidecar.cli import main

sys.exit(main())
