# SPDX-License-Identifier: Apache-2.0
"""From series to the bytes of OTLP requests, and what a connection to the Collector needs."""
