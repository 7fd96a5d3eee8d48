"""Uids come from the job alone: state is found again when SQL's planner numbers otherwise."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from verdict.pipelines.engines.flink.uids import name_all, stateful
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.topology import Hop, Job

HOPS = (Hop("decode", False, lambda: None), Hop("card", True, lambda: None))  # type: ignore[arg-type, return-value]
JOB = Job("score", "p", ("events", "commands"), HOPS, ("decisions", "dead-letters"))


class Node:
    """A Java transformation."""

    made = 0

    def __init__(self, name: str, *inputs: "Node") -> None:
        Node.made += 1
        self._id, self._name, self._inputs = Node.made, name, inputs
        self.uid = ""

    def getId(self) -> int:
        return self._id

    def getName(self) -> str:
        return self._name

    def getInputs(self) -> Sequence["Node"]:
        return self._inputs

    def setUid(self, uid: str) -> None:
        self.uid = uid

    def setName(self, name: str) -> None:
        self._name = name


def planned(first: int = 1) -> tuple[list[Node], dict[int, str], list[Node]]:
    """Return a program as SQL's planner makes it: its ends, its hops, and all its nodes.

    ``first`` is where the planner's own numbers begin.
    """
    n = iter(range(first, first + 100))
    sources = [Node(f"TableSourceScan(table=[[input_{i}]])") for i in range(2)]
    selects = [Node(f"Calc[{next(n)}]", source) for source in sources]
    union = Node("Union", *selects)
    decode = Node("hop", Node(f"SinkConversion[{next(n)}]", union))
    key = Node("Partition", decode)
    card = Node("hop", key)
    sinks, parts = [], []
    for number, hop in enumerate((decode, card)):
        for output in (1, 2):
            rows = Node(f"DataStreamToTable[{next(n)}]", Node("Side Output", hop))
            last = Node(f"ConstraintEnforcer[{next(n)}]", rows)
            sinks.append(Node(f"hop_{number}_output_{output}[{next(n)}]: Writer", last))
            parts += [*rows.getInputs(), rows, last]
    ends = [decode, card, *sinks]
    hops = {decode.getId(): "decode", card.getId(): "card"}
    return ends, hops, [*sources, *selects, union, key, *parts]


def named(first: int) -> list[str]:
    ends, hops, _ = planned(first)
    return name_all(JOB, SimpleNamespace(getTransformations=lambda: ends), hops)


def test_every_part_has_a_uid_by_what_it_does() -> None:
    uids = named(1)
    assert len(uids) == len(set(uids))
    assert {uid.removeprefix("p/score/") for uid in uids} >= {
        "source/events",
        "source/commands/select",
        "decode",
        "decode/in/records",
        "card/sink/dead-letters/rows",
        "card",
        "card/in/key",
        "card/sink/dead-letters",
        "decode/sink/decisions/constraints",
    }


def test_what_keeps_state_is_among_them() -> None:
    assert set(stateful(JOB)) <= set(named(1))


def test_the_planners_own_numbers_change_none() -> None:
    assert named(1) == named(1_000)


def test_none_is_left_without() -> None:
    ends, hops, nodes = planned()
    name_all(JOB, SimpleNamespace(getTransformations=lambda: ends), hops)
    assert all(node.uid == node.getName() for node in (*ends, *nodes))
    assert all(node.uid for node in (*ends, *nodes))


def test_what_is_planned_otherwise_than_known_is_refused() -> None:
    hop = Node("hop")
    two = Node("Calc[3]", Node("Calc[2]", hop))
    sink = Node("hop_1_output_1[3]", two)
    program = SimpleNamespace(getTransformations=lambda: [hop, sink])
    says = r"card/sink/decisions/select would be the uid of both 'Calc\[3\]'"
    with pytest.raises(FlinkError, match=says):
        name_all(JOB, program, {hop.getId(): "card"})
