"""The models that come with the package, by name; each folder holds a card, README.md."""

from pathlib import Path

DEFAULT_MODEL = "cprs-small"
BUNDLED = {DEFAULT_MODEL: Path(__file__).parent / "small"}
