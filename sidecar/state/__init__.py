# SPDX-License-Identifier: Apache-2.0
"""What survives a restart: the record, the journal on disk, and the marks that outlive a lost journal."""
