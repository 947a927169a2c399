# SPDX-License-Identifier: Apache-2.0
"""The YAML of configuration files and profiles, parsed into specs that know their lines."""
