"""Where files lie: those of the package, and the folder for what is fetched once."""

import os
import tempfile
from pathlib import Path

RESOURCES = Path(__file__).parent / "resources"
VERDICT = Path(__file__).parents[1]


def resource(relative: str) -> Path:
    """Return where a file of ``avro/``, ``deploy/`` or ``init/`` lies, in checkout or wheel.

    Examples
    --------
    >>> resource("deploy/jars.txt").name
    'jars.txt'
    """
    own = RESOURCES / relative
    return own if own.exists() else VERDICT / relative


def cache_folder() -> Path:
    """Return where jars are kept: ``$VERDICT_CACHE``, or ``verdict`` in the user's cache folder."""
    if own := os.environ.get("VERDICT_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "verdict"


def replace_file(file: Path, content: str | bytes) -> None:
    """Write a file so that nobody ever reads half of it."""
    data = content.encode() if isinstance(content, str) else content
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}-", delete=False) as new:
        new.write(data)
    Path(new.name).replace(file)
