# SPDX-License-Identifier: Apache-2.0
"""`make bench`: the cost of each part, compared with a comparable reference measured in the same minute."""
