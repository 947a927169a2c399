# SPDX-License-Identifier: Apache-2.0
"""Which map a source reads: found, told apart from others, followed while it is replaced, with few rights."""
