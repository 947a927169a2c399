# SPDX-License-Identifier: Apache-2.0
"""The YAML of --config and of profiles, as nodes that know their line."""
