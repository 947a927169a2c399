# SPDX-License-Identifier: Apache-2.0
"""`make bench`: what each part costs, beside something comparable that is run in the same minute."""
