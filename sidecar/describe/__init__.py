# SPDX-License-Identifier: Apache-2.0
"""Which metrics a map yields: from BTF, profiles and the user's configuration to a Schema."""
