"""Free ports of this machine."""

import random
import re
import socket
from pathlib import Path

from verdict.pipelines.errors import LocalError

HOST = "127.0.0.1"
# Below the ports that Linux gives to outgoing connections (32768 and up): while the broker is
# down, a client that keeps trying could otherwise be given the broker's own port.
PORTS = range(20_000, 32_000)


def ports_before(settings: Path) -> tuple[int, int] | None:
    """Return the ports of the folder's last broker, if they are free."""
    if not settings.exists():
        return None
    found = re.search(r"^listeners=\D*[\d.]+:(\d+),\D*[\d.]+:(\d+)$", settings.read_text(), re.M)
    if found is None:
        return None
    broker, controller = int(found[1]), int(found[2])
    return (broker, controller) if _is_free(broker) and _is_free(controller) else None


def free_ports() -> tuple[int, int]:
    """Return two ports that are free now.

    Raises
    ------
    LocalError
        There are not two.
    """
    ports = [port for port in random.sample(PORTS, 200) if _is_free(port)]
    if len(ports) < 2:
        raise LocalError(f"{HOST}: no free ports from {PORTS.start} to {PORTS.stop - 1}.")
    return ports[0], ports[1]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Java does: connections that a dead broker left in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def listens(bootstrap: str) -> bool:
    """Whether something takes connections at an address, ``host:port``, within a second."""
    host, port = bootstrap.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens at.

    Examples
    --------
    >>> free_port() > 1023
    True
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
