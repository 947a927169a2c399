# SPDX-License-Identifier: Apache-2.0
"""What a map means: from BTF, profiles and the user's configuration to a Schema."""
