"""A job's settings on Flink: they travel as JSON, and know the newest checkpoint."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from verdict.pipelines.engines.flink.settings import FlinkSettings, latest_checkpoint

PATHS = st.sampled_from([Path("/a"), Path("b/c"), Path("/a b")])
SETTINGS = st.builds(
    FlinkSettings,
    bootstrap=st.just("127.0.0.1:9092"),
    folder=PATHS,
    checkpoint_folder=PATHS,
    jars=st.lists(PATHS, max_size=2).map(tuple),
    client=st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    restore=st.none() | PATHS,
    restarts=st.none() | st.integers(0, 3),
    java_options=st.lists(st.text(max_size=3), max_size=2),
    python_path=st.lists(PATHS, max_size=2).map(tuple),
    silent=st.booleans() | st.dictionaries(st.just("t/0"), st.integers(0, 9)),
    bounded=st.booleans(),
)


@given(SETTINGS)
def test_they_come_back_from_json(settings: FlinkSettings) -> None:
    assert FlinkSettings.from_json(settings.as_json()) == settings


def test_the_newest_whole_checkpoint_is_found(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    for at, name in enumerate(["one/chk-9", "two/chk-3", "two/chk-4"]):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        if name != "two/chk-4":  # it was broken off
            (folder / "_metadata").touch()
            os.utime(folder / "_metadata", (at, at))
    assert latest_checkpoint(tmp_path) == tmp_path / "two/chk-3"
