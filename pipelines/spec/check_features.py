"""What may be wrong with features."""

import keyword
from collections.abc import Sequence

from verdict.operators.errors import ExpressionError, FunctionError
from verdict.operators.expressions import Expression, Kind
from verdict.operators.features.columns import LABEL, kinds
from verdict.operators.features.functions import load_function
from verdict.operators.policy.decide import SCORE
from verdict.pipelines.spec.checks import Faults, check_field, meant
from verdict.pipelines.spec.features import (
    AggregateFeature,
    ExpressionFeature,
    LookupFeature,
    PythonFeature,
)
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.spec.yaml_file import SourceFile
from verdict.state.windows.aggregates import LABELLED

LONGEST_WINDOW = 365 * 86_400_000


def _looked_up(pipeline: Pipeline, source: SourceFile, name: str, feature: LookupFeature) -> Faults:
    place = ("features", name)
    if feature.table not in pipeline.spec.lookups:
        hint = meant(feature.table, pipeline.spec.lookups)
        yield source.error(
            place, f"feature '{name}' looks into '{feature.table}', which is no lookup.{hint}"
        )
        return
    if feature.field is None:
        return
    rows = pipeline.rows.get(feature.table)
    if rows is None:
        yield source.error(
            ("lookups", feature.table),
            f"feature '{name}' reads '{feature.field}' of a row: say the 'schema' of the rows",
        )
        return
    yield from check_field(source, (*place, "field"), feature.field, rows, "the rows' schema")
    leaf = rows.fields.get(feature.field)
    if leaf is not None and leaf.kind not in (Kind.NUMBER, Kind.BOOLEAN):
        yield source.error(
            (*place, "field"), f"feature '{name}': '{feature.field}' is a {leaf.kind}, no number"
        )


def check_features(pipeline: Pipeline, source: SourceFile) -> Faults:
    """Check each feature's name, and what it is made of."""
    names = kinds(pipeline.schema)
    for name, feature in pipeline.spec.features.items():
        place = ("features", name)
        if not all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split(".")):
            yield source.error(
                place,
                f"feature '{name}' has no name that a rule can read; letters, digits and '_' do",
            )
        if name == SCORE:
            yield source.error(place, f"'{SCORE}' is the model's score; call the feature otherwise")
        plain = isinstance(feature, ExpressionFeature) and feature.expr == name
        if name in names and not plain:
            yield source.error(
                place, f"'{name}' is a field of the event too; call the feature otherwise"
            )
        match feature:
            case ExpressionFeature():
                others = dict.fromkeys(pipeline.spec.features, Kind.NUMBER)
                del others[name]
                yield from _expression(source, place, name, feature.expr, {**others, **names})
            case AggregateFeature():
                yield from _aggregate(pipeline, source, name, feature)
            case LookupFeature():
                yield from _looked_up(pipeline, source, name, feature)
            case PythonFeature():
                for path in feature.reads:
                    yield from check_field(source, (*place, "reads"), path, pipeline.schema)
                try:
                    load_function(str(pipeline.path.parent / feature.python))
                except FunctionError as error:
                    yield source.error((*place, "python"), f"feature '{name}': {error}")


def _aggregate(
    pipeline: Pipeline, source: SourceFile, name: str, feature: AggregateFeature
) -> Faults:
    place = ("features", name)
    entities, names = list(pipeline.spec.entities), kinds(pipeline.schema)
    if feature.by not in entities:
        yield source.error(
            place,
            f"feature '{name}' goes by '{feature.by}', which is no entity."
            + meant(feature.by, entities),
        )
    elif feature.by != pipeline.entities[0] and feature.default is None:
        yield source.error(
            place,
            f"feature '{name}' has no default: an event without a {feature.by} needs one, "
            "such as 'default: 0'",
        )
    for key in ("over", "half_life", "delay"):
        if (getattr(feature, key) or 0) > LONGEST_WINDOW:
            yield source.error((*place, key), f"feature '{name}': {key} is 365d at most")
    if feature.op == "rate" and pipeline.spec.labels is None:
        yield source.error(
            place,
            f"feature '{name}' is of labels: add a 'labels' section, which says where they are",
        )
    elif feature.argument == LABEL and pipeline.spec.labels is not None:
        if LABEL in names:
            yield source.error(
                place,
                f"feature '{name}' asks for '{LABEL}', which is a field of the event, too: where "
                "there are labels, call the field otherwise",
            )
        if feature.op not in LABELLED or feature.delay is None:
            yield source.error(
                place,
                f"feature '{name}': of labels there are {', '.join(LABELLED)}, each with a "
                "'delay' to wait for them",
            )
    elif feature.argument is not None:
        text = f"asks for {feature.op}({feature.argument}): "
        kind = (Kind.STRING,) if feature.op == "distinct" else ()
        yield from _expression(source, place, name, feature.argument, names, text, kind)
    if feature.where is not None:
        try:
            where = Expression(feature.where, names)
        except ExpressionError as error:
            yield source.error((*place, "where"), f"feature '{name}': {error}")
            return
        if where.kind is not Kind.BOOLEAN:
            yield source.error(
                (*place, "where"),
                f"feature '{name}': '{feature.where}' is a {where.kind}, no condition",
            )


def check_circles(pipeline: Pipeline, source: SourceFile) -> Faults:
    """Check that no features read each other in a circle."""
    try:
        _ = pipeline.formulas
    except ExpressionError:
        return  # said already
    except ValueError as error:
        circle = str(error).split(" <- ")
        yield source.error(
            ("features", circle[0]), f"features read each other in a circle: {error}"
        )


def _expression(
    source: SourceFile,
    place: Sequence[str | int],
    name: str,
    text: str,
    names: dict[str, Kind],
    what: str = "",
    kinds: Sequence[Kind] = (),
) -> Faults:
    try:
        expression = Expression(text, names)
    except ExpressionError as error:
        yield source.error(place, f"feature '{name}' {what}{error}")
        return
    if expression.kind not in (Kind.NUMBER, Kind.BOOLEAN, *kinds):
        yield source.error(place, f"feature '{name}': '{text}' is a {expression.kind}, no number")


def check_decide(pipeline: Pipeline, source: SourceFile) -> Faults:
    """Check that each rule's condition is one."""
    names = pipeline.rule_names
    for index, rule in enumerate(pipeline.spec.decide.rules):
        place = ("decide", "rules", index, "when")
        try:
            expression = Expression(rule.when, names)
        except ExpressionError as error:
            yield source.error(place, f"rule '{rule.name}': {error}")
            continue
        if expression.kind is not Kind.BOOLEAN:
            yield source.error(
                place, f"rule '{rule.name}': '{rule.when}' is a {expression.kind}, no condition"
            )


def check_watch(pipeline: Pipeline, source: SourceFile) -> Faults:
    """Check that features that are not watched exist."""
    for index, name in enumerate(pipeline.spec.watch.ignore):
        if name not in pipeline.spec.features:
            hint = meant(name, pipeline.spec.features)
            yield source.error(("watch", "ignore", index), f"there is no feature '{name}'.{hint}")
