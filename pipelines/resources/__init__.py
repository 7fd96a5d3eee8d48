"""Files that are no Python: Avro schemas, and what ``deploy/`` holds."""

from pathlib import Path

HERE = Path(__file__).parent
VERDICT = HERE.parents[1]


def path(relative: str) -> Path:
    """Return where a file of ``avro/`` or ``deploy/`` lies, in a checkout and in a wheel.

    Examples
    --------
    >>> path("deploy/jars.txt").name
    'jars.txt'
    """
    here = HERE / relative
    return here if here.exists() else VERDICT / relative
