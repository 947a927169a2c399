# SPDX-License-Identifier: Apache-2.0
"""Write all generated files: `python -m dashboards`."""

from dashboards.files import ROOT, generated


def main() -> None:
    """Write the files that have changed, and print their names."""
    changed = [(path, text) for path, text in generated() if not path.exists() or path.read_text() != text]
    for path, text in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")
    if not changed:
        print("nothing to write: all dashboards and rules are up to date")


if __name__ == "__main__":
    main()
