# SPDX-License-Identifier: Apache-2.0
"""`make test-kernels`: boot Debian's kernels under QEMU and run the kernel tests in each."""
