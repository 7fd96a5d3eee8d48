"""What an engine does while a schema registry is away: it waits, and asks again."""

import logging
import time

from verdict.pipelines.errors import RegistryError
from verdict.pipelines.topology import Stop

AGAIN_S = 1.0
"""How long to wait before a schema registry that was away is asked again."""
LOOK_S = 0.1
"""How often to look meanwhile whether to stop."""


class Patience:
    """Waits for a schema registry; says so once, and once that it is back.

    Parameters
    ----------
    logger
        Gets the two lines.
    who
        Waits, for the lines; empty where that is clear.
    stop
        Ends the waiting.
    most
        Seconds to wait for one answer; None for ever.

    Examples
    --------
    >>> patience = Patience(logging.getLogger("example"), most=0)
    >>> patience.waits(RegistryError("the registry does not answer"))
    False
    """

    def __init__(
        self,
        logger: logging.Logger,
        who: str = "",
        stop: Stop | None = None,
        most: float | None = None,
    ) -> None:
        self._logger, self._who = logger, who
        self._stop, self._most = stop, most
        self._since: float | None = None

    def waits(self, error: RegistryError) -> bool:
        """Wait a little before it is asked again; return False when there is no more waiting.

        Parameters
        ----------
        error
            What came of asking.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
            what = f"{self._who}: {error}" if self._who else str(error)
            self._logger.warning("%s\nWaiting, and asking again; nothing is lost.", what)
        if self._most is not None and now >= self._since + self._most:
            return False
        while (left := now + AGAIN_S - time.monotonic()) > 0:
            if self._stop is not None and self._stop.is_set():
                return False
            time.sleep(min(LOOK_S, left))
        return True

    def answered(self) -> None:
        """Say that it is back, if it was away."""
        if self._since is not None:
            the = f"{self._who}: the" if self._who else "The"
            after = time.monotonic() - self._since
            self._logger.warning("%s schema is there, after %.0f s; going on.", the, after)
            self._since = None
