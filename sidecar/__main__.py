# SPDX-License-Identifier: Apache-2.0
"""`python -m sidecar` is `xdp-otel`."""

import sys

from sidecar.cli import main

sys.exit(main())
