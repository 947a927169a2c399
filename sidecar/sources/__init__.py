# SPDX-License-Identifier: Apache-2.0
"""The maps that are read: located, kept distinct, followed when they are replaced, with the fewest rights."""
