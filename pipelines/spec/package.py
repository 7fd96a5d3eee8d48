"""A pipeline as one value: its file with all that it refers to, known by its sha256.

A Flink job carries it inside its hops' plans, and a TaskManager unpacks it once into its cache
folder. So the workers need the Python environment and nothing else, and a restart finds its models
where no registry and no folder of the submitting machine is left.
"""

import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from verdict.pipelines.errors import SpecError
from verdict.pipelines.paths import cache_folder
from verdict.pipelines.spec.decide import Models
from verdict.pipelines.spec.features import PythonFeature
from verdict.pipelines.spec.pipeline import Pipeline

FILE = "pipeline.yaml"
OUTSIDE = "outside"
"""Folder of what lies outside the pipeline file's own."""
MOST_BYTES = 90 * 2**20
"""Of a package. Flink's REST API takes 100 MiB in one request by default
(``rest.server.max-content-length``)."""
LEVEL = 6
"""zlib's. A model of 100 trees becomes a third; 9 takes three times as long for 1 % less."""


@dataclass(frozen=True)
class Package:
    """A pipeline's files.

    Attributes
    ----------
    sha256
        Of the archive before it was compressed: of contents alone, no times, owners or modes.
    data
        The archive, compressed.
    """

    sha256: str
    data: bytes = field(repr=False)

    def archive(self) -> bytes:
        """Return the archive, an uncompressed tar file.

        Raises
        ------
        SpecError
            It is not the one whose sha256 it bears.
        """
        try:
            data = zlib.decompress(self.data)
        except zlib.error as error:
            raise SpecError([f"the package {self.sha256} is damaged: {error}; pack anew"]) from None
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise SpecError([f"the package {self.sha256} is damaged: it has {found}; pack anew"])
        return data


def pack(pipeline: Pipeline) -> Package:
    """Pack a pipeline's file, schema, bundles, Python files and folder of schemas.

    What lies outside the folder of the pipeline file is packed beside it, and the packed file
    points there. Secrets and certificates of ``settings.kafka`` are not packed: hops have no
    connection to Kafka.

    Raises
    ------
    SpecError
        A file cannot be read, or all of them are more than a job can carry.
    """
    packing = _Packing(pipeline)
    packing.all()
    data = _tar(packing.files)
    package = Package(hashlib.sha256(data).hexdigest(), zlib.compress(data, LEVEL))
    if len(package.data) > MOST_BYTES:
        raise SpecError(
            [
                f"{pipeline.path}: with its models it is {len(package.data) / 2**20:.0f} MiB "
                f"compressed, a Flink job carries {MOST_BYTES / 2**20:.0f}; leave out challengers, "
                "or take smaller models"
            ]
        )
    return package


def unpack(package: Package, cache: Path | None = None) -> Path:
    """Return the pipeline file of a package, unpacked into a cache folder if it is not there.

    A folder that is there is compared with the package, and made anew where it differs.

    Parameters
    ----------
    package
        The package.
    cache
        The folder, by default `pipelines.paths.cache_folder`; the files come to lie in its
        ``pipelines/SHA256``.

    Raises
    ------
    SpecError
        The package is damaged, or the folder cannot be written to.
    """
    archive = package.archive()
    pipelines = (cache or cache_folder()) / "pipelines"
    folder = pipelines / package.sha256
    try:
        if not _holds(folder, archive):
            pipelines.mkdir(parents=True, exist_ok=True)
            _extract(archive, folder)
    except OSError as error:
        raise SpecError(
            [f"{folder}: cannot unpack the pipeline there: {error}; name another in VERDICT_CACHE"]
        ) from None
    return folder / FILE


def relocated(pipeline: Pipeline, file: Path) -> Pipeline:
    """Return a pipeline whose files are those of its package, unpacked around another file.

    Nothing is read, so what it was given since it was loaded stays. Schemas have been read: theirs
    are the only paths that stay behind.
    """
    spec, home = pipeline.spec, pipeline.path.parent
    places = _places(pipeline)

    def moved(path: Path) -> Path:
        return Path(places[_whole(home / path)])

    features = dict(spec.features)
    for name, feature in spec.features.items():
        if isinstance(feature, PythonFeature):
            path, _, function = feature.python.rpartition(":")
            python = f"{moved(Path(path))}:{function}"
            features[name] = feature.model_copy(update={"python": python})
    model = Models(
        champion=moved(spec.model.champion),
        challengers=[moved(folder) for folder in spec.model.challengers],
    )
    settings, schemas = spec.settings, spec.settings.schemas
    if schemas is not None and schemas.folder is not None:
        there = schemas.model_copy(update={"folder": moved(schemas.folder)})
        settings = settings.model_copy(update={"schemas": there})
    told = {"features": features, "model": model, "settings": settings}
    return replace(pipeline, path=file, spec=spec.model_copy(update=told))


def _places(pipeline: Pipeline) -> dict[Path, str]:
    """Tell where in a package lies each file or folder that a pipeline file refers to."""
    spec, home = pipeline.spec, pipeline.path.parent
    paths = [spec.events.schema_file, spec.model.champion, *spec.model.challengers]
    paths += [each.schema_file for each in spec.lookups.values() if each.schema_file is not None]
    if spec.labels is not None:
        paths.append(spec.labels.schema_file)
    for feature in spec.features.values():
        if isinstance(feature, PythonFeature):
            paths.append(Path(feature.python.rpartition(":")[0]))
    if spec.settings.schemas is not None and spec.settings.schemas.folder is not None:
        paths.append(spec.settings.schemas.folder)
    found: dict[Path, str] = {}
    outside = 0
    for path in paths:
        whole = _whole(home / path)
        if whole in found:
            continue
        if whole.is_relative_to(home):
            found[whole] = whole.relative_to(home).as_posix()
        else:
            found[whole] = f"{OUTSIDE}/{outside}/{whole.name}"
            outside += 1
    return found


def _whole(path: Path) -> Path:
    return Path(os.path.normpath(path))


class _Packing:
    """The files of a package, by their names in it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._home = pipeline.path.parent
        self._data: Any = yaml.safe_load(pipeline.path.read_text("utf-8"))
        self._changed = False
        self._places = _places(pipeline)
        self.files: dict[str, bytes] = {}

    def all(self) -> None:
        spec, data = self._pipeline.spec, self._data
        self._refer(data["events"], "schema")
        model = data["model"]
        if isinstance(model, str):
            self._refer(data, "model")
        else:
            self._refer(model, "champion")
            for index in range(len(spec.model.challengers)):
                self._refer(model["challengers"], index)
        for name, lookup in spec.lookups.items():
            if lookup.schema_file is not None:
                self._refer(data["lookups"][name], "schema")
        if spec.labels is not None:
            self._refer(data["labels"], "schema")
        for name, feature in spec.features.items():
            if isinstance(feature, PythonFeature):
                self._refer(data["features"][name], "python")
        if spec.settings.schemas is not None and spec.settings.schemas.folder is not None:
            self._refer(data["settings"]["schemas"], "folder")
        text = self._pipeline.path.read_bytes()
        if self._changed:
            text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode()
        self.files[FILE] = text

    def _refer(self, holder: Any, place: str | int) -> None:
        """Pack what a part of the pipeline file points to, and let it point to that."""
        written, _, function = str(holder[place]).partition(".py:")
        suffix = f".py:{function}" if function else ""
        path = self._home / (written + (".py" if suffix else ""))
        name = self._places[_whole(path)]
        if PurePosixPath(name) != PurePosixPath(str(written) + (".py" if suffix else "")):
            holder[place] = name.removesuffix(".py") + suffix if suffix else name
            self._changed = True
        for file, relative in _files(path):
            inside = f"{name}/{relative}" if relative else name
            try:
                self.files[inside] = file.read_bytes()
            except OSError as error:
                raise SpecError([f"{file}: cannot be packed: {error.strerror}"]) from None


def _files(path: Path) -> Iterator[tuple[Path, str]]:
    """List a file, or all of a folder: each with its path below the folder."""
    if not path.is_dir():
        yield path, ""
        return
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
        if file.is_file() and not hidden:
            yield file, relative.as_posix()


def _tar(files: dict[str, bytes]) -> bytes:
    """Write files so that the same contents make the same bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            archive.addfile(member, io.BytesIO(files[name]))
    return packed.getvalue()


def _members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for member in members:
            content = members.extractfile(member)
            assert content is not None  # `_tar` writes files alone
            yield member.name, content.read()


def _holds(folder: Path, archive: bytes) -> bool:
    """Whether a folder holds what an archive does, byte for byte."""
    try:
        return all((folder / name).read_bytes() == data for name, data in _members(archive))
    except OSError:
        return False


def _extract(archive: bytes, folder: Path) -> None:
    """Make a folder appear whole, in place of a damaged one if need be."""
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as partial_folder:
        fresh = Path(partial_folder) / "fresh"
        for name, data in _members(archive):
            file = fresh / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        if folder.exists() and not _holds(folder, archive):
            shutil.move(folder, Path(partial_folder) / "damaged")
        try:
            fresh.rename(folder)
        except OSError:
            # Another worker of this machine was faster.
            if not _holds(folder, archive):
                raise


def save(package: Package, folder: Path) -> Path:
    """Keep a package as ``SHA256.package`` in a folder; return the file.

    Written beside and moved there, so that nobody ever reads half of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{package.sha256}.package"
    if not file.exists():
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".partial-", delete=False) as part:
            part.write(package.data)
        Path(part.name).replace(file)
    return file


def read(file: Path) -> Package:
    """Read what `save` kept.

    Raises
    ------
    SpecError
        It cannot be read, or is damaged.
    """
    try:
        package = Package(file.stem, file.read_bytes())
    except OSError as error:
        raise SpecError([f"{file}: cannot read the package: {error.strerror}"]) from None
    package.archive()
    return package
