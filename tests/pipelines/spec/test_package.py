"""A pipeline as one value: what is in it, and that it makes the same operators elsewhere."""

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from verdict.operators.message import Message
from verdict.pipelines.deployment.carried import carried
from verdict.pipelines.errors import SpecError
from verdict.pipelines.jobs import catalog, score
from verdict.pipelines.jobs.labels import labels as label_job
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.package import Package, pack, read, relocated, save, unpack
from verdict.state.store.keyed import MemoryState

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "card-fraud"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A copy of the example, whose models lie elsewhere and one feature is Python's."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("pipeline.yaml", "transaction.avsc"):
        shutil.copy(EXAMPLE / name, home)
    shutil.copytree(EXAMPLE / "models", tmp_path / "elsewhere" / "models")
    (tmp_path / "elsewhere" / "mine.py").write_text("def double(event):\n    return 2.0\n")
    text = (home / "pipeline.yaml").read_text()
    text = text.replace("models/challenger", str(tmp_path / "elsewhere" / "models" / "challenger"))
    text = text.replace("models/champion", "../elsewhere/models/champion")
    text = text.replace(
        "features:\n",
        'features:\n  doubled: {python: "../elsewhere/mine.py:double", reads: [amount]}\n',
        1,
    )
    (home / "pipeline.yaml").write_text(text)
    return home


def files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def test_it_works_with_the_original_gone(home: Path, tmp_path: Path) -> None:
    package = pack(load(home / "pipeline.yaml"))
    assert pack(load(home / "pipeline.yaml")) == package
    shutil.rmtree(home)
    shutil.rmtree(tmp_path / "elsewhere")

    unpacked = load(unpack(package, tmp_path / "cache"))
    assert unpacked.path == tmp_path / "cache" / "pipelines" / package.sha256 / "pipeline.yaml"
    assert {"outside/0/champion/model.onnx", "outside/1/challenger/model.yaml"} <= files(
        unpacked.path.parent
    )
    for name in ("score", "shadow"):
        for hop in catalog.job(unpacked, name).hops:
            hop.operator()
    assert list((tmp_path / "cache" / "pipelines").iterdir()) == [unpacked.path.parent]


def test_the_labels_schema_is_packed_too(home: Path, tmp_path: Path) -> None:
    fields = [
        {"name": "id", "type": "string"},
        {"name": "fraud", "type": "boolean"},
        {"name": "known_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ]
    schema = {"type": "record", "name": "Label", "fields": fields}
    (tmp_path / "elsewhere" / "label.avsc").write_text(json.dumps(schema))
    file = home / "pipeline.yaml"
    labels = (
        "labels: {topic: reported, schema: ../elsewhere/label.avsc, event_id: id, value: fraud, "
        "known_at: known_at}\nfeatures:\n"
        "  risk: {rate: label, over: 7d, delay: 7d, by: terminal, default: 0}\n"
    )
    file.write_text(file.read_text().replace("features:\n", labels, 1))
    package = pack(load(file))
    shutil.rmtree(tmp_path / "elsewhere")
    unpacked = load(unpack(package, tmp_path / "cache"))
    assert unpacked.labels_input == "entity-labels"
    for hop in label_job(unpacked).hops:
        hop.operator()


def test_nothing_is_rewritten_where_all_lies_in_one_folder() -> None:
    package = pack(load(EXAMPLE / "pipeline.yaml"))
    assert (EXAMPLE / "pipeline.yaml").read_bytes() in package.archive()
    assert len(package.data) < 200_000


def test_factories_carry_it(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERDICT_CACHE", str(tmp_path / "cache"))
    pipeline = load(home / "pipeline.yaml")
    job = carried(score.score(pipeline), pack(pipeline))
    assert [hop.name for hop in job.hops] == [hop.name for hop in score.score(pipeline).hops]
    sent = pickle.dumps(job)
    shutil.rmtree(home)
    shutil.rmtree(tmp_path / "elsewhere")

    assert all(callable(hop.operator()) for hop in pickle.loads(sent).hops)
    operator = pickle.loads(sent).hops[0].operator()
    emits = list(operator(Message("events", b"k", b"garbage", "t", 0, 0, 0), MemoryState()))
    assert [emit.output for emit in emits] == ["dead-letters"]


def test_a_relocated_pipeline_refers_to_what_the_packed_file_does(
    home: Path, tmp_path: Path
) -> None:
    """The one is made of the pipeline, the other is read: they lay out the files alike."""
    file = home / "pipeline.yaml"
    schemas = "settings: {schemas: {folder: ../elsewhere/schemas}}\n"
    (tmp_path / "elsewhere" / "schemas").mkdir()
    (tmp_path / "elsewhere" / "schemas" / "1.avsc").write_text('"string"')
    file.write_text(file.read_text() + schemas)
    pipeline = load(file)
    unpacked = load(unpack(pack(pipeline), tmp_path / "cache"))
    assert relocated(pipeline, unpacked.path) == unpacked
    assert relocated(unpacked, unpacked.path) == unpacked


def test_another_factory_is_refused(home: Path) -> None:
    pipeline = load(home / "pipeline.yaml")
    job = score.score(pipeline)
    hop = replace(job.hops[0], operator=MemoryState)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="hop 'customer' of job 'score' is not made by a HopPlan"):
        carried(replace(job, hops=(hop,)), pack(pipeline))


def test_a_damaged_folder_is_made_anew(home: Path, tmp_path: Path) -> None:
    package = pack(load(home / "pipeline.yaml"))
    file = unpack(package, tmp_path)
    made = file.parent.stat().st_ino
    assert unpack(package, tmp_path).parent.stat().st_ino == made
    text = file.read_bytes()
    file.write_bytes(b"pipeline: half")
    assert unpack(package, tmp_path) == file
    assert file.read_bytes() == text


def test_a_damaged_package_is_refused(home: Path, tmp_path: Path) -> None:
    package = pack(load(home / "pipeline.yaml"))
    file = save(package, tmp_path)
    assert read(file) == package
    for data in (b"", b"x", package.data[:-9]):
        with pytest.raises(SpecError, match=f"the package {package.sha256} is damaged"):
            unpack(Package(package.sha256, data), tmp_path)
    with pytest.raises(SpecError, match="is damaged: it has"):
        Package("0" * 64, package.data).archive()


def test_workers_that_unpack_at_once_do_not_disturb_each_other(home: Path, tmp_path: Path) -> None:
    package = pack(load(home / "pipeline.yaml"))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: unpack(package, tmp_path).read_bytes(), range(8)))
    assert len(set(found)) == 1
    assert [entry.name for entry in (tmp_path / "pipelines").iterdir()] == [package.sha256]


def test_too_much_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verdict.pipelines.spec.package.MOST_BYTES", 1000)
    with pytest.raises(SpecError, match="MiB compressed, a Flink job carries"):
        pack(load(home / "pipeline.yaml"))
