# SPDX-License-Identifier: Apache-2.0
"""How a map looks, by its BTF or by the user, and what is made of it."""
