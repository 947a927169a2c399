# SPDX-License-Identifier: Apache-2.0
"""What survives a restart: the record, and the journal that keeps it on disk."""
