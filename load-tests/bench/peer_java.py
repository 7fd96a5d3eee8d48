"""The peer in Java: built by Maven into the cache folder, submitted to a cluster as any job."""

import fcntl
import hashlib
import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from processes import Failed, Skipped

from verdict.pipelines.paths import cache_folder

BENCH = Path(__file__).parent
SOURCES = BENCH.parent / "peers" / "java"
INPUTS = ("payment.avsc", "decision.avsc", "models/one-entity/model.onnx")
"""What the build takes from the benchmark's own folder."""
JAR = "one-entity.jar"
SUBMITTING_S = 120.0


def java_jar() -> Path:
    """Return the job's jar in the cache folder; build it.

    Raises
    ------
    Skipped
        There is no Maven here.
    Failed
        Maven cannot build it.
    """
    folder = cache_folder() / "java-peer" / _digest()
    jar, stamp = folder / JAR, folder / "built"
    if stamp.exists():
        return jar
    maven = shutil.which("mvn")
    if maven is None:
        raise Skipped("the peer in Java is built by Maven, and there is no mvn on the PATH")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            command = [maven, "--quiet", "--batch-mode", "--file", str(SOURCES / "pom.xml")]
            command += [f"-Dpeer.build={folder}", f"-Dbench={BENCH}", "package"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                last = "\n".join(done.stdout.splitlines()[-15:])
                raise Failed(f"Maven cannot build {SOURCES}:\n{last}{done.stderr}")
            stamp.touch()
    return jar


def submit(cluster: str, jar: Path, arguments: Sequence[str]) -> None:
    """Submit the job to a cluster, whose JobManager runs its main method.

    Parameters
    ----------
    cluster
        ``host:port`` of the JobManager's REST API.
    jar
        What `java_jar` returned.
    arguments
        Of the job.

    Raises
    ------
    Failed
        The cluster refuses.
    """
    mark = "jar"
    head = f'--{mark}\r\nContent-Disposition: form-data; name="jarfile"; filename="{JAR}"\r\n'
    head += "Content-Type: application/java-archive\r\n\r\n"
    body = head.encode() + jar.read_bytes() + f"\r\n--{mark}--\r\n".encode()
    form = f"multipart/form-data; boundary={mark}"
    name = Path(_post(cluster, "/jars/upload", body, form)["filename"]).name
    asked = json.dumps({"programArgsList": list(arguments)}).encode()
    _post(cluster, f"/jars/{name}/run", asked, "application/json")


def _post(cluster: str, path: str, body: bytes, kind: str) -> dict[str, Any]:
    request = urllib.request.Request(f"http://{cluster}{path}", body, {"Content-Type": kind})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=SUBMITTING_S) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        raise Failed(f"the cluster refuses the peer in Java at {path}: {text[:2_000]}") from None


def _digest() -> str:
    """Digest what the jar is made of, so that another source has another folder."""
    files = [file for file in SOURCES.rglob("*") if file.suffix in (".java", ".xml")]
    files += [BENCH / name for name in INPUTS]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]
