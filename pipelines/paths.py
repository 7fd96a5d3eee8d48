"""Where files lie: those of the package, and the folder for what is fetched once."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return where jars are kept: ``$VERDICT_CACHE``, or ``verdict`` in the user's cache folder."""
    if own := os.environ.get("VERDICT_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "verdict"
