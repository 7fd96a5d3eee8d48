"""The decisions that this pipeline should make of its ten events: run it with ``pytest``."""

import subprocess
from pathlib import Path

from verdict import read_records

HERE = Path(__file__).parent


def test_the_fourth_payment_within_the_hour_is_reviewed(tmp_path: Path) -> None:
    out, state = str(tmp_path / "out"), str(tmp_path / "state")
    command = ["verdict", "run", str(HERE), "--to", out, "--state", state]
    subprocess.run(command, check=True)
    actions = {
        decision["event_id"]: decision["action"]
        for decision in read_records(tmp_path / "out" / "decisions.avro")
    }
    assert len(actions) == 10
    assert {event for event, action in actions.items() if action == "review"} == {"p06", "p07"}
