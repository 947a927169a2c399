# SPDX-License-Identifier: Apache-2.0
"""`make release`: from a clean checkout to the files that users install, in `dist/`; docs/releasing.md."""
