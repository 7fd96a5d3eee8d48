"""The server of that page: one a process."""

import errno
import logging
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from socketserver import ThreadingMixIn
from typing import Any, NamedTuple, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from verdict.pipelines.telemetry.page import PREFIX, Page

LOGGER = logging.getLogger(__name__)
STOP_S = 0.05
"""How often the server looks whether it is to stop."""


class Endpoint(NamedTuple):
    """Where a process may serve its metrics: at the first free port of a range.

    Examples
    --------
    >>> Endpoint.parse("127.0.0.1:9400-9409")
    Endpoint(host='127.0.0.1', first=9400, last=9409)
    >>> str(Endpoint.parse("0.0.0.0:9400"))
    '0.0.0.0:9400-9400'
    """

    host: str
    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Read ``host:port`` or ``host:first-last``."""
        host, _, ports = text.rpartition(":")
        first, _, last = ports.partition("-")
        return cls(host, int(first), int(last or first))

    def __str__(self) -> str:
        return f"{self.host}:{self.first}-{self.last}"


class PageSource(Protocol):
    """Something that has samples to show. Its labels tell it from all others of the process."""

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of all its samples."""
        ...

    def show(self, page: Page) -> None:
        """Write its samples to the page."""
        ...


class Served:
    """A source that is shown, until it is closed."""

    def __init__(self, where: Endpoint, server: "_Server", source: PageSource) -> None:
        self._where, self._server, self._source = where, server, source

    @property
    def port(self) -> int | None:
        """At which the server listens; None where no port was to be had."""
        return self._server.port

    def close(self) -> None:
        """Show it no more; the last source of a server takes it along."""
        server, key = self._server, _key(self._source)
        with _lock:
            if server.sources.get(key) is not self._source:  # closed, or another took its place
                return
            del server.sources[key]
            if not server.sources:
                del _servers[self._where]
                server.stop()


def serve(where: Endpoint, source: PageSource) -> Served:
    """Show a source's samples at ``http://host:port/metrics``.

    One server does for all sources of a process that name the same endpoint: the hops of a Flink
    mini cluster share an interpreter. It stops with the last of them. A source with the labels of
    another takes its place: that of a task that ended without a word. Where no port is to be had, a
    line in the log says so, and events are decided nevertheless.
    """
    with _lock:
        server = _servers.get(where)
        if server is None:
            server = _servers[where] = _Server(where)
        server.sources[_key(source)] = source
        return Served(where, server, source)


def _key(source: PageSource) -> tuple[tuple[str, str], ...]:
    return tuple(source.labels.items())


class _Http(ThreadingMixIn, WSGIServer):
    """Answers each request in a thread of its own, none of which keeps the process alive."""

    daemon_threads = True


class _Http6(_Http):
    address_family = socket.AF_INET6


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""


class _Server:
    """The HTTP server of a process, and a collector for its registry."""

    def __init__(self, where: Endpoint) -> None:
        from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app

        self.sources: dict[tuple[tuple[str, str], ...], PageSource] = {}
        self.port: int | None = None
        self._http: WSGIServer | None = None
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(namespace=PREFIX, registry=registry)
        registry.register(self)
        self._start(where, make_wsgi_app(registry))

    def _start(self, where: Endpoint, app: Any) -> None:
        server = _Http6 if ":" in where.host else _Http
        for port in range(where.first, where.last + 1):
            try:
                http = make_server(where.host, port, app, server, _Silent)
            except OSError as error:
                if error.errno == errno.EADDRINUSE and port < where.last:
                    continue
                LOGGER.warning(
                    "no metrics are served at %s: %s; mend settings.metrics",
                    where,
                    error.strerror or error,
                )
                return
            self._http, self.port = http, http.server_port
            # Every half a second, as is the default, a job that starts again would wait for it.
            self._thread = threading.Thread(target=http.serve_forever, args=(STOP_S,), daemon=True)
            self._thread.start()
            return

    def collect(self) -> Iterator[Any]:
        """Return what all sources show now."""
        page = Page()
        for source in list(self.sources.values()):
            source.show(page)
        return page.families()

    def describe(self) -> Iterable[Any]:
        """Return nothing: names are known when samples are."""
        return ()

    def stop(self) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()


_lock = threading.Lock()
_servers: dict[Endpoint, _Server] = {}
"""Of this process: a second server could only have another port, and the same to say."""
