"""Write the pages of docs/reference that are generated from the code."""

from __future__ import annotations

from pathlib import Path

from clsgen.config.render import markdown_reference

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"


def main() -> None:
    """Write docs/reference/config.md."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    (REFERENCE / "config.md").write_text(markdown_reference(), encoding="utf-8")
    print("wrote docs/reference/config.md")


if __name__ == "__main__":
    main()
