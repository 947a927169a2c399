# SPDX-License-Identifier: Apache-2.0
"""The same by numpy for large maps: numbers in columns in place of an object for each."""
