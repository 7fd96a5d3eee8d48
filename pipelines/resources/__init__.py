"""Files that are no Python: Avro schemas, and what ``deploy/`` holds."""

from pathlib import Path

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]


def path(relative: str) -> Path:
    """Return where a file of ``avro/`` or ``deploy/`` lies, in a checkout and in a wheel.

    Examples
    --------
    >>> path("deploy/jars.txt").name
    'jars.txt'
    """
    installed = HERE / relative
    return installed if installed.exists() else CHECKOUT / relative
