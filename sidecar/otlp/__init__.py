# SPDX-License-Identifier: Apache-2.0
"""OTLP: from series to the bytes of requests, and what a connection to the Collector needs."""
