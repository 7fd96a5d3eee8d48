"""The pipeline file: what a pipeline reads, remembers, computes and decides.

The reference page, ``docs/spec.md``, is made from the docstrings of these models.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from verdict.pipelines.spec.decide import DecideSpec, Models, Watch
from verdict.pipelines.spec.events import Events
from verdict.pipelines.spec.features import Feature
from verdict.pipelines.spec.labels import Labels
from verdict.pipelines.spec.lookups import LookupSpec
from verdict.pipelines.spec.settings import Settings, Topics
from verdict.pipelines.spec.values import Name
from verdict.pipelines.spec.yaml_file import Fault, Model


def _champion_alone(value: Any) -> Any:
    return {"champion": value} if isinstance(value, str | Path) else value


class Spec(Model):
    """A pipeline, as its YAML file says it."""

    pipeline: Name
    """The pipeline's name. It is part of every decision's id."""
    events: Events
    """What it reads."""
    entities: dict[Name, str | list[str]]
    """Entity -> path of its key, or the paths of its parts: ``[customer_id, merchant]``. Each that
    features go by is a hop. The key of the first one, or of ``events.keyed_by``, is mandatory in
    every event, and its hop is the first; another may be null, then its features take their
    defaults."""
    lookups: dict[Name, LookupSpec] = {}
    """Tables that features are looked up in, by name."""
    labels: Labels | None = None
    """What came of events, for features over labels."""
    features: dict[str, Feature]
    """What the models see, by name; the model's bundle says the order."""
    model: Annotated[Models, BeforeValidator(_champion_alone)]
    """The model bundles."""
    decide: DecideSpec = DecideSpec()
    """From score to action."""
    watch: Watch = Watch()
    """Drift."""
    topics: Topics = Topics()
    """Names of the outputs."""
    settings: Settings = Settings()
    """Where it runs."""

    @model_validator(mode="after")
    def _entities(self) -> "Spec":
        if not self.entities:
            raise Fault(
                ("entities",),
                "'entities' is empty; name the one that events belong to: card: card_id",
            )
        for entity, paths in self.entities.items():
            if isinstance(paths, list) and len(dict.fromkeys(paths)) < max(len(paths), 2):
                raise Fault(
                    ("entities", entity), "a key of several parts has two at least, each once"
                )
        if self.events.keyed_by is not None and self.events.keyed_by not in self.entities:
            raise Fault(
                ("events", "keyed_by"),
                f"events.keyed_by is '{self.events.keyed_by}', which is no entity; there are "
                f"{', '.join(self.entities)}",
            )
        outputs = dict(self.topics)
        if self.events.topic is not None and self.events.topic in outputs.values():
            raise Fault(
                ("events", "topic"),
                f"'{self.events.topic}' is the topic of an output, too; call one of them otherwise",
            )
        for name, lookup in self.lookups.items():
            if lookup.topic is not None and lookup.topic in (*outputs.values(), self.events.topic):
                raise Fault(
                    ("lookups", name, "topic"),
                    f"'{lookup.topic}' is the topic of events or of an output, too; a lookup's is "
                    "its own",
                )
        if self.labels is not None and self.labels.topic is not None:
            others = (*outputs.values(), self.events.topic)
            others += tuple(lookup.topic for lookup in self.lookups.values())
            if self.labels.topic in others:
                raise Fault(
                    ("labels", "topic"),
                    f"'{self.labels.topic}' is the topic of something else, too; labels have one "
                    "of their own",
                )
        return self
