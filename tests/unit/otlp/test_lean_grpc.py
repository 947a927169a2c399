# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("first_line", "expected"), [("import ssl", "True"), ("import asyncio", "False"), ("", "False")]
)
def test_ssl_is_loaded_only_if_grpc_insists(tmp_path, first_line, expected):
    """Then it is imported after all; and whoever needs it later can import it either way."""
    (tmp_path / "grpc.py").write_text(f"{first_line}\nname = 'fake'\n")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from sidecar.otlp.lean_grpc import grpc; "
        "print(grpc.name, 'ssl' in sys.modules); import ssl; ssl.create_default_context()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == (f"fake {expected}\n", "")


def test_a_grpc_that_cannot_be_imported_is_an_error(tmp_path):
    """With the cause; nothing is hidden by the second attempt."""
    (tmp_path / "grpc.py").write_text("import no_such_module\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import sidecar.otlp.lean_grpc"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stderr.endswith("ModuleNotFoundError: No module named 'no_such_module'\n")
