"""`verdict check` finds every kind of mistake, each in one line that says where and what to do."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from verdict.pipelines.errors import SpecError
from verdict.pipelines.paths import resource
from verdict.pipelines.spec.load import check_models, load, over
from verdict.pipelines.spec.pipeline import Pipeline

PIPELINE = """\
pipeline: shop
events:
  topic: payments
  schema: event.avsc
  id: id
  time: at
  keyed_by: card
  fields:
    country: {allowed: [FR, BE]}
    amount: {min: 0}
  amount:
    field: amount
    currency_field: currency
entities:
  card: card
  shop: shop.id
features:
  amount: amount
  night: {expr: "hour(at) < 6", default: 0}
  card_count_1h: {count: "*", over: 1h, by: card}
  shop_mean:
    mean: amount
    over: 7d
    by: shop
    default: 0
  distance: {python: "mine.py:distance", reads: [shop.id], default: 0}
model:
  champion: models/a
  challengers: [models/b]
decide:
  rules:
    - {name: huge, when: amount > 5000, action: review}
    - name: abroad
      when: country != 'FR'
  thresholds:
    - {at: 0.9, action: decline}
    - {at: 0.5, action: review}
watch:
  ignore: [night]
settings:
  output_format: avro
"""
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
SCHEMA = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "card", "type": "string"},
        {"name": "amount", "type": DECIMAL},
        {"name": "fine", "type": {**DECIMAL, "scale": 8}},
        {"name": "currency", "type": "string"},
        {"name": "country", "type": ["null", "string"]},
        {"name": "ratio", "type": "double"},
        {"name": "online", "type": "boolean"},
        {"name": "items", "type": {"type": "array", "items": "string"}},
        {
            "name": "shop",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "Shop",
                    "fields": [{"name": "id", "type": "long"}, {"name": "name", "type": "string"}],
                },
            ],
        },
    ],
}
LABEL_SCHEMA = {
    "type": "record",
    "name": "Label",
    "fields": [
        {"name": "payment", "type": "string"},
        {"name": "fraud", "type": "boolean"},
        {"name": "state", "type": "int"},
        {"name": "share", "type": "double"},
        {"name": "reported", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "paid", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "who", "type": "string"},
        {"name": "card", "type": "string"},
        {"name": "shop", "type": ["null", "long"]},
    ],
}
LABELS = """\
labels:
  topic: chargebacks
  schema: label.avsc
  event_id: payment
  value: fraud
  known_at: reported
  source: who
  precedence: [bank, analyst]
  event_time: paid
  keys:
    card: card
    shop: shop
  maturity: 60d
features:
  shop_risk: {rate: label, over: 7d, delay: 7d, by: shop, default: 0}
"""
MINE = "def distance(fields):\n    return 1.0\n\nnumber = 5\n"


def write_bundle(folder: Path, **changes: Any) -> None:
    """Copy the bundle of `verdict init`, of amount and card_count_1h, with another card."""
    shutil.copytree(resource("init/model"), folder)
    card = yaml.safe_load((folder / "model.yaml").read_text())
    (folder / "model.yaml").write_text(yaml.safe_dump({**card, **changes}))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that `PIPELINE` names, and things to be mistaken about."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "event.avsc").write_text(json.dumps(SCHEMA))
    (folder / "label.avsc").write_text(json.dumps(LABEL_SCHEMA))
    (folder / "mine.py").write_text(MINE)
    (folder / "raises.py").write_text("raise RuntimeError('no such table')\n")
    (folder / "broken.avsc").write_text('{"type": "record",\n "name": "X",\n "fields": [}\n')
    (folder / "array.avsc").write_text('{"type": "array", "items": "string"}')
    (folder / "type.avsc").write_text(
        json.dumps({**SCHEMA, "fields": [{"name": "id", "type": "strin"}]})
    )
    write_bundle(folder / "models/a")
    write_bundle(folder / "models/b", version="2")
    write_bundle(folder / "models/c", version="2", name="tiny")
    write_bundle(folder / "models/hash", sha256="0" * 64)
    write_bundle(folder / "models/asks", features=["amount", "card_count_1d"])
    write_bundle(folder / "models/vectors", vectors=[{"features": [1.0, 1.0], "score": 0.9}])
    write_bundle(folder / "models/card", versoin="3")
    return folder


def errors(folder: Path, text: str) -> list[str]:
    """Check a pipeline file as the command does; return its errors from the line on."""
    file = folder / "pipeline.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as refusal:
        check_models(load(file))
    for message in refusal.value.messages:
        assert message.startswith(f"{file}:"), message
    return [message.removeprefix(f"{file}:") for message in refusal.value.messages]


def changed(*changes: tuple[str, str]) -> str:
    text = PIPELINE
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def line_of(text: str, part: str) -> int:
    assert text.count(part) == 1, part
    return text[: text.index(part)].count("\n") + 1


MISTAKES: dict[str, tuple[str, str, str, str]] = {
    # what is wrong: (old, new, what stands in the line at fault, what the error says)
    "mistyped section": (
        "entities:",
        "entitys:",
        "entitys:",
        "'entitys'. Did you mean 'entities'?",
    ),
    "mistyped in events": (
        "topic:",
        "topics:",
        "topics:",
        "'events.topics'. Did you mean 'topic'?",
    ),
    "mistyped in a field's check": (
        "{min: 0}",
        "{mn: 0}",
        "mn: 0",
        "'events.fields.amount.mn'. Did you mean 'min'?",
    ),
    "mistyped in amount": (
        "currency_field:",
        "curency_field:",
        "curency_field:",
        "'events.amount.curency_field'. Did you mean 'currency_field'?",
    ),
    "mistyped in an expression": (
        "default: 0}\n  card_count",
        "defalt: 0}\n  card_count",
        "night: {",
        "'features.night.defalt'. Did you mean 'default'?",
    ),
    "mistyped in an aggregate": (
        "over: 7d",
        "ovr: 7d",
        "ovr: 7d",
        "'features.shop_mean.ovr'. Did you mean 'over'?",
    ),
    "mistyped op": (
        "mean: amount",
        "men: amount",
        "men: amount",
        "'features.shop_mean.men'. Did you mean 'mean'?",
    ),
    "mistyped in a Python feature": (
        "reads:",
        "read:",
        "distance:",
        "'features.distance.read'. Did you mean 'reads'?",
    ),
    "mistyped in model": (
        "challengers:",
        "challenger:",
        "challenger:",
        "'model.challenger'. Did you mean 'challengers'?",
    ),
    "mistyped in decide": (
        "thresholds:",
        "treshold:",
        "treshold:",
        "'decide.treshold'. Did you mean 'thresholds'?",
    ),
    "mistyped in a rule": (
        "      when:",
        "      wen:",
        "wen:",
        "'decide.rules.1.wen'. Did you mean 'when'?",
    ),
    "mistyped in a threshold": (
        "at: 0.5, action",
        "at: 0.5, acton",
        "acton",
        "'decide.thresholds.1.acton'. Did you mean 'action'?",
    ),
    "mistyped in watch": ("ignore:", "ignor:", "ignor:", "'watch.ignor'. Did you mean 'ignore'?"),
    "mistyped in settings": (
        "output_format:",
        "output_fromat:",
        "output_fromat:",
        "'settings.output_fromat'. Did you mean 'output_format'?",
    ),
    "mistyped in topics": (
        "watch:",
        "topics: {dead_letters: x}\nwatch:",
        "dead_letters",
        "'topics.dead_letters'. Did you mean 'dead-letters'?",
    ),
    "mistyped in schemas": (
        "  output_format:",
        "  schemas: {foldr: x}\n  output_format:",
        "foldr",
        "'settings.schemas.foldr'. Did you mean 'folder'?",
    ),
    "mistyped secret": (
        "  output_format:",
        "  kafka: {sasl.password: {evn: X}}\n  output_format:",
        "evn",
        "'settings.kafka.sasl.password.evn'. Did you mean 'env'?",
    ),
    "nothing like it": (
        "watch:",
        "colour: red\nwatch:",
        "colour",
        "no setting 'colour'. There are: pipeline, events, entities, lookups, labels, features,",
    ),
    "the same key twice": ("time: at", "time: at\n  id: no", "id: no", "'id' stands twice"),
    "the same feature twice": (
        "  shop_mean:",
        "  amount: other\n  shop_mean:",
        "amount: other",
        "'amount' stands twice",
    ),
    "bad YAML": ("time: at", "time: [at", "keyed_by", "not YAML: "),
    "a list": (PIPELINE, "- a\n", "- a", "a mapping is wanted, such as 'pipeline: my-pipeline'"),
    "nothing": (PIPELINE, "# nothing", "# nothing", "a mapping is wanted"),
    "no pipeline": ("pipeline: shop\n", "", "events:", "'pipeline' is missing"),
    "no schema": ("  schema: event.avsc\n", "", "events:", "'events.schema' is missing"),
    "no window": ("    over: 7d\n", "", "shop_mean:", "say either 'over', a window's length, or"),
    "window and half-life": (
        "over: 7d",
        "over: 7d\n    half_life: 1d",
        "shop_mean:",
        "say either 'over', a window's length, or 'half_life'",
    ),
    "half-life of a maximum": (
        "mean: amount\n    over: 7d",
        "max: amount\n    half_life: 7d",
        "half_life: 7d",
        "'half_life' goes with count, sum, mean",
    ),
    "delay of a maximum": (
        "mean: amount\n    over: 7d",
        "max: amount\n    over: 7d\n    delay: 1d",
        "delay: 1d",
        "'delay' goes with count, sum, mean, std, rate over a window",
    ),
    "delay without the event": (
        "over: 7d",
        "over: 7d\n    delay: 1d\n    current: false",
        "current: false",
        "a window with a 'delay' never holds the event itself",
    ),
    "since last without the event": (
        "mean: amount\n    over: 7d",
        "time_since_last: '*'\n    over: 7d\n    current: false",
        "current: false",
        "'time_since_last' never looks at the event itself",
    ),
    "where is no condition": (
        "over: 7d",
        "over: 7d\n    where: amount + 1",
        "where: amount + 1",
        "feature 'shop_mean': 'amount + 1' is a number, no condition",
    ),
    "where reads a feature": (
        "over: 7d",
        "over: 7d\n    where: night > 0",
        "where: night > 0",
        "there is no 'night'",
    ),
    "distinct of what is not there": (
        "mean: amount",
        "distinct: curency",
        "shop_mean:",
        "asks for distinct(curency): 'curency': there is no 'curency'. Did you mean 'currency'?",
    ),
    "mean of text": (
        "mean: amount",
        "mean: currency",
        "shop_mean:",
        "feature 'shop_mean': 'currency' is a string, no number",
    ),
    "a circle of features": (
        "  amount: amount\n",
        "  amount: amount\n  a: b + 1\n  b: a + 1\n",
        "  a: b + 1",
        "features read each other in a circle: a <- b <- a",
    ),
    "a feature of itself": (
        "  amount: amount\n",
        "  amount: amount\n  a: a + 1\n",
        "  a: a + 1",
        "there is no 'a'",
    ),
    "key of one part": (
        "card: card",
        "card: [card]",
        "card: [card]",
        "a key of several parts has two at least, each once",
    ),
    "key of a part that is no name": (
        "card: card",
        "card: [card, ratio]",
        "card: [card, ratio]",
        "'ratio' is a number; a key is a string or an integer",
    ),
    "no champion": ("  champion: models/a\n", "", "model:", "'model.champion' is missing"),
    "bad duration": (
        "over: 7d",
        "over: 7 days",
        "7 days",
        "'7 days' is no duration; write a whole",
    ),
    "number for a duration": ("over: 1h", "over: 60", "over: 60", "'60' is no duration"),
    "window of no length": ("over: 1h", "over: 0h", "over: 0h", "'0h' is no duration"),
    "window of two years": ("over: 7d", "over: 730d", "730d", "over is 365d at most"),
    "two ops": (
        "mean: amount",
        "mean: amount\n    sum: amount",
        "shop_mean:",
        "say exactly one of",
    ),
    "no op": (
        "    mean: amount\n",
        "",
        "shop_mean:",
        "say exactly one of count, sum, mean, std, min, max, first, last, distinct,",
    ),
    "empty feature": (
        "  amount: amount\n  night",
        "  amount:\n  night",
        "  amount:\n  night",
        "write",
    ),
    "unknown entity": (
        "by: shop",
        "by: shopp",
        "shop_mean:",
        "goes by 'shopp', which is no entity. Did you mean 'shop'?",
    ),
    "unknown field in an expression": (
        "  amount: amount\n  night",
        "  large: amuont > 5\n  night",
        "large:",
        "feature 'large' 'amuont > 5': there is no 'amuont'. Did you mean 'amount'?",
    ),
    "unknown field in an aggregate": (
        "mean: amount",
        "mean: amuont",
        "shop_mean:",
        "feature 'shop_mean' asks for mean(amuont): 'amuont': there is no 'amuont'. Did you mean",
    ),
    "unknown field of a Python feature": (
        "reads: [shop.id]",
        "reads: [shop.idd]",
        "distance:",
        "the schema has no field 'shop.idd'. Did you mean 'shop.id'?",
    ),
    "unknown id": ("id: id", "id: idd", "id: idd", "no field 'idd'. Did you mean 'id'?"),
    "unknown time": ("time: at", "time: att", "time: att", "no field 'att'. Did you mean 'at'?"),
    "unknown entity's path": (
        "shop: shop.id",
        "shop: shop.no",
        "shop: shop.no",
        "the schema has no field 'shop.no'. Did you mean 'shop.name'?",
    ),
    "unknown field to check": (
        "country: {allowed",
        "cuontry: {allowed",
        "cuontry:",
        "the schema has no field 'cuontry'. Did you mean 'country'?",
    ),
    "unknown amount": (
        "    field: amount",
        "    field: amont",
        "field: amont",
        "the schema has no field 'amont'. Did you mean 'amount'?",
    ),
    "unknown currency": (
        "currency_field: currency",
        "currency_field: curency",
        "curency",
        "the schema has no field 'curency'. Did you mean 'currency'?",
    ),
    "an array as a field": ("id: id", "id: items", "id: items", "the schema has no field 'items'"),
    "string in arithmetic": (
        'expr: "hour(at) < 6"',
        'expr: "country * 2"',
        "night:",
        "'country * 2': arithmetic takes numbers, but 'country' is a string",
    ),
    "string as a feature": (
        'expr: "hour(at) < 6"',
        "expr: country",
        "night:",
        "feature 'night': 'country' is a string, no number",
    ),
    "no expression": (
        'expr: "hour(at) < 6"',
        'expr: "hour(at) <"',
        "night:",
        "'hour(at) <' is not an expression",
    ),
    "unknown function": (
        'expr: "hour(at) < 6"',
        'expr: "hours(at) < 6"',
        "night:",
        "there is no function hours(); did you mean hour()?",
    ),
    "rule that is no condition": (
        "when: amount > 5000",
        "when: amount + 5000",
        "huge",
        "rule 'huge': 'amount + 5000' is a number, no condition",
    ),
    "rule over an unknown name": (
        "      when: country != 'FR'",
        "      when: contry != 'FR'",
        "when: contry",
        "rule 'abroad': 'contry != 'FR'': there is no 'contry'. Did you mean 'country'?",
    ),
    "thresholds out of order": (
        "at: 0.5",
        "at: 0.95",
        "at: 0.95",
        "threshold 0.95 comes after 0.9: they go from the highest to the lowest",
    ),
    "two rules of a name": (
        "name: abroad",
        "name: huge",
        "- name: huge",
        "two rules are called 'huge'",
    ),
    "feature called as a field": (
        "  shop_mean:",
        "  ratio:",
        "ratio:",
        "'ratio' is a field of the event too; call the feature otherwise",
    ),
    "feature called score": (
        "  shop_mean:",
        "  score:",
        "score:",
        "'score' is the model's score; call the feature otherwise",
    ),
    "feature that no rule can name": (
        "  shop_mean:",
        "  shop-mean:",
        "shop-mean:",
        "feature 'shop-mean' has no name that a rule can read",
    ),
    "no default of a second entity": (
        "    default: 0\n",
        "",
        "shop_mean:",
        "no default: an event without a shop needs one, such as 'default: 0'",
    ),
    "key of a float": (
        "shop: shop.id",
        "shop: ratio",
        "shop: ratio",
        "'ratio' is a number; a key is a string or an integer",
    ),
    "key of a decimal": (
        "shop: shop.id",
        "shop: amount",
        "shop: amount",
        "'amount' is a decimal; a key is a string or an integer",
    ),
    "id of a boolean": (
        "id: id",
        "id: online",
        "id: online",
        "'online' is a boolean; an id is a string or an integer",
    ),
    "time of a float": ("time: at", "time: ratio", "time: ratio", "'ratio' is no long: a time is"),
    "entity with a capital": (
        "  shop: shop.id",
        "  Shop: shop.id",
        "Shop:",
        "entities.Shop: 'Shop' will not do; write lower-case letters",
    ),
    "entity called as the first hop": (
        "  shop: shop.id",
        "  shop: shop.id\n  decode: shop.name",
        "decode:",
        "'decode' is the first hop's name; call it otherwise",
    ),
    "amount not a decimal": (
        "    field: amount",
        "    field: ratio",
        "field: ratio",
        "'ratio' is no decimal: money is, so sums are exact",
    ),
    "amount too fine": (
        "    field: amount",
        "    field: fine",
        "field: fine",
        "'fine' has 8 decimal places; 6 at most",
    ),
    "currency not a text": (
        "currency_field: currency",
        "currency_field: ratio",
        "currency_field: ratio",
        "'ratio' is a number, no currency's code",
    ),
    "two currencies": (
        "    currency_field: currency",
        "    currency_field: currency\n    currency: EUR",
        "  amount:\n    field",
        "say either 'currency' or 'currency_field'",
    ),
    "range of a text": (
        "{allowed: [FR, BE]}",
        "{min: 1}",
        "country:",
        "'country' is a string: it has no 'min' and 'max'",
    ),
    "Norway": (
        "{allowed: [FR, BE]}",
        "{allowed: [FR, NO]}",
        "country:",
        "'country' is a string, False is none; write 'False' in quotes",
    ),
    "number among texts": (
        "{min: 0}",
        "{allowed: [small]}",
        "small",
        "'amount' is a number, 'small' is none",
    ),
    "empty range": ("{min: 0}", "{min: 5, max: 1}", "min: 5", "'min' is above 'max'"),
    "keyed by no entity": (
        "keyed_by: card",
        "keyed_by: cart",
        "keyed_by",
        "events.keyed_by is 'cart', which is no entity; there are card, shop",
    ),
    "topic and files": (
        "  topic: payments",
        "  topic: payments\n  files: [a.avro]",
        "events:",
        "say either 'topic' or 'files'",
    ),
    "neither topic nor files": (
        "  topic: payments\n",
        "",
        "events:",
        "say either 'topic' or 'files'",
    ),
    "files that are keyed": (
        "topic: payments",
        "files: [a.avro]",
        "keyed_by",
        "events.keyed_by is about a topic's message keys; files have none: leave it out",
    ),
    "one topic for in and out": (
        "topic: payments",
        "topic: decisions",
        "topic: decisions",
        "'decisions' is the topic of an output, too",
    ),
    "one topic for two outputs": (
        "watch:",
        "topics: {drift: decisions}\nwatch:",
        "topics:",
        "two of the topics are called 'decisions'",
    ),
    "no topic's name": (
        "topic: payments",
        "topic: pay ments",
        "pay ments",
        "will not do; write at",
    ),
    "missing schema": (
        "schema: event.avsc",
        "schema: none.avsc",
        "none.avsc",
        "none.avsc: No such file or directory",
    ),
    "broken schema": (
        "schema: event.avsc",
        "schema: broken.avsc",
        "broken.avsc",
        "broken.avsc:3: not",
    ),
    "schema of no record": (
        "schema: event.avsc",
        "schema: array.avsc",
        "array.avsc",
        "array.avsc: an event's schema is a record",
    ),
    "schema with a mistyped type": (
        "schema: event.avsc",
        "schema: type.avsc",
        "type.avsc",
        "not an Avro schema: strin",
    ),
    "Python file missing": (
        "mine.py:distance",
        "none.py:distance",
        "distance:",
        "feature 'distance': there is no Python file",
    ),
    "Python function missing": (
        "mine.py:distance",
        "mine.py:distanse",
        "distance:",
        "mine.py has no function 'distanse'",
    ),
    "Python function none": ("mine.py:distance", "mine.py:number", "distance:", "has no function"),
    "Python file raises": (
        "mine.py:distance",
        "raises.py:distance",
        "distance:",
        "raises.py does not import: RuntimeError: no such table",
    ),
    "Python feature without a function": (
        "mine.py:distance",
        "mine.py",
        "distance:",
        "features.distance.python: 'mine.py' will not do; write file.py:function",
    ),
    "Confluent's format without schemas": (
        "  schema: event.avsc",
        "  schema: event.avsc\n  format: confluent",
        "format: confluent",
        "confluent wants settings.schemas",
    ),
    "Confluent's format out without schemas": (
        "output_format: avro",
        "output_format: confluent",
        "output_format",
        "confluent wants settings.schemas",
    ),
    "unknown format": (
        "  schema: event.avsc",
        "  schema: event.avsc\n  format: xml",
        "format: xml",
        "events.format: Input should be 'avro', 'confluent' or 'json', not 'xml'",
    ),
    "nothing to ignore": (
        "ignore: [night]",
        "ignore: [nigth]",
        "ignore:",
        "there is no feature 'nigth'. Did you mean 'night'?",
    ),
    "missing bundle": (
        "champion: models/a",
        "champion: models/none",
        "models/none",
        "none/model.yaml: cannot be read: No such file or directory",
    ),
    "bundle with a wrong hash": (
        "champion: models/a",
        "champion: models/hash",
        "models/hash",
        "hash/model.onnx: its sha256 is 186ab99fd334…, model.yaml says 000000000000…",
    ),
    "bundle that fails its vectors": (
        "challengers: [models/b]",
        "challengers: [models/b, models/vectors]",
        "models/vectors",
        "vectors: test vector 0 scores 0.0478796959, the card says 0.9",
    ),
    "bundle with a mistyped card": (
        "champion: models/a",
        "champion: models/card",
        "models/card",
        "card/model.yaml: versoin: Extra inputs are not permitted",
    ),
    "bundle that asks for an unknown feature": (
        "champion: models/a",
        "champion: models/asks",
        "models/asks",
        "model tiny asks for feature 'card_count_1d', which the pipeline does not compute. "
        "Did you mean 'card_count_1h'?",
    ),
    "the same challenger twice": (
        "challengers: [models/b]",
        "challengers: [models/b, models/b]",
        "challengers:",
        "the challenger models/b stands twice",
    ),
    "two challengers of a name": (
        "challengers: [models/b]",
        "challengers: [models/b, models/c]",
        "challengers:",
        "two challengers are called tiny:2",
    ),
}


@pytest.mark.parametrize(("old", "new", "at", "says"), list(MISTAKES.values()), ids=list(MISTAKES))
def test_a_mistake_is_one_line_with_its_place(
    shop: Path, old: str, new: str, at: str, says: str
) -> None:
    text = changed((old, new))
    found = errors(shop, text)
    assert len(found) == 1, found
    line, _, message = found[0].partition(": ")
    assert says in message
    assert int(line) == line_of(text, at), found[0]


FILES = changed(("topic: payments", "files: [a.avro]"), ("  keyed_by: card\n", ""))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "[a.avro]",
            "[a.avro, b.jsonl]",
            "'b.jsonl': events of format avro lie in .avro or .parquet files",
        ),
        ("[a.avro]", "[a.avro, c.avro, a.avro]", "the file a.avro stands twice"),
        ("[a.avro]", "[a.avro]\n  format: json", "'a.avro': events of format json lie in .jsonl"),
        ("[a.avro]", "[a.csv]", "'a.csv': events of format avro lie in .avro or .parquet files"),
    ],
)
def test_a_mistake_about_files_is_one_line(shop: Path, old: str, new: str, says: str) -> None:
    text = FILES.replace(old, new)
    assert [says in found for found in errors(shop, text)] == [True]
    assert errors(shop, text)[0].startswith(f"{line_of(FILES, 'files:')}: ")


def test_files_are_not_in_confluents_format(shop: Path) -> None:
    text = FILES.replace("[a.avro]", "[a.avro]\n  format: confluent").replace(
        "settings:\n", "settings:\n  schemas: {folder: schemas}\n"
    )
    assert errors(shop, text) == ["4: Confluent's format is of topics; files hold plain Avro: avro"]


def test_several_mistakes_are_said_at_once_in_the_order_of_the_lines(shop: Path) -> None:
    text = changed(
        ("id: id", "id: idd"),
        ("shop: shop.id", "shop: ratio"),
        ("mean: amount", "mean: amuont"),
        ("mine.py:distance", "none.py:distance"),
        ("when: amount > 5000", "when: amount"),
        ("ignore: [night]", "ignore: [nigth]"),
    )
    parts = ["id: idd", "shop: ratio", "shop_mean:", "distance:", "huge", "ignore"]
    wanted = [line_of(text, part) for part in parts]
    assert wanted == sorted(wanted)
    assert [int(found.partition(":")[0]) for found in errors(shop, text)] == wanted


def test_several_models_are_refused_at_once(shop: Path) -> None:
    text = changed(
        ("models/a", "models/hash"), ("[models/b]", "\n  - models/none\n  - models/asks")
    )
    found = errors(shop, text)
    wanted = [line_of(text, f"models/{name}") for name in ("hash", "none", "asks")]
    assert [int(each.partition(":")[0]) for each in found] == wanted


def test_a_relative_path_stays_relative_in_errors(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "relative.yaml").write_text(
        changed(("models/a", "models/none"), ("time: at", "time: at"))
    )
    monkeypatch.chdir(shop)
    with pytest.raises(SpecError, match=r"^relative\.yaml:\d+: "):
        check_models(load(Path("relative.yaml")))


LABEL_MISTAKES: dict[str, tuple[str, str, str, str]] = {
    "no section": (
        LABELS,
        "features:\n  shop_risk: {rate: label, over: 7d, delay: 7d, by: shop, default: 0}\n",
        "shop_risk",
        "feature 'shop_risk' is of labels: add a 'labels' section",
    ),
    "missing schema": ("label.avsc", "none.avsc", "none.avsc", "none.avsc: No such file"),
    "no such field": (
        "value: fraud",
        "value: froud",
        "froud",
        "the labels' schema has no field 'froud'. Did you mean 'fraud'?",
    ),
    "a value of many": (
        "value: fraud",
        "value: share",
        "value: share",
        "'share' is a number; a label is a boolean, or 1 or 0",
    ),
    "a time as value": ("value: fraud", "value: paid", "value: paid", "a label is a boolean, or 1"),
    "no time": ("reported\n", "who\n", "known_at: who", "'who' is no long: a time is one"),
    "no source's name": (
        "source: who",
        "source: share",
        "source: share",
        "'share' is a number; a key is a string or an integer",
    ),
    "keys without time": (
        "  event_time: paid\n",
        "",
        "labels:",
        "say both 'event_time' and 'keys' where the record has them, else neither",
    ),
    "no entity": ("    card: card", "    cart: card", "cart: card", "'cart' is no entity that"),
    "a key of parts": (
        "    card: card",
        "    card: [card, who]",
        "card: [card, who]",
        "the key of 'card' has 1 parts in an event and 2 here: name the label's fields for card",
    ),
    "a key that is missing": (
        "    shop: shop\n",
        "",
        "keys:",
        "features over labels go by 'shop', whose key is not here: add it, or leave out 'keys'",
    ),
    "precedence of nothing": (
        "  source: who\n",
        "",
        "precedence:",
        "'precedence' is of sources: say where the 'source' lies",
    ),
    "a source twice": ("analyst]", "bank]", "precedence:", "the source 'bank' stands twice"),
    "the events' topic": (
        "topic: chargebacks",
        "topic: payments",
        "  schema: label.avsc",
        "'payments' is the topic of something else, too",
    ),
    "no topic": (
        "  topic: chargebacks",
        "  files: [labels.avro]",
        "labels:",
        "events come from a topic, and labels name none",
    ),
    "files of another format": (
        "  topic: chargebacks",
        "  topic: chargebacks\n  files: [labels.jsonl]",
        "labels.jsonl",
        "'labels.jsonl': labels of format avro lie in .avro or .parquet files",
    ),
    "not to be waited for": (
        "{rate: label, over: 7d, delay: 7d,",
        "{mean: label, over: 7d,",
        "shop_risk",
        "of labels there are count, sum, mean, rate, each with a 'delay' to wait for them",
    ),
    "no label's spread": (
        "{rate: label",
        "{std: label",
        "shop_risk",
        "of labels there are count, sum, mean, rate",
    ),
}


def with_labels(old: str = "", new: str = "") -> str:
    text = changed(("features:\n", LABELS))
    assert not old or text.count(old) == 1, old
    return text.replace(old, new) if old else text


@pytest.mark.parametrize(
    ("old", "new", "at", "says"), list(LABEL_MISTAKES.values()), ids=list(LABEL_MISTAKES)
)
def test_a_mistake_about_labels_is_one_line_with_its_place(
    shop: Path, old: str, new: str, at: str, says: str
) -> None:
    text = with_labels(old, new)
    (message,) = errors(shop, text)
    line, _, said = message.partition(": ")
    assert says in said
    if at != "  schema: label.avsc":  # the line before it: that topic stands in two
        assert int(line) == line_of(text, at)
    else:
        assert int(line) == line_of(text, at) - 1


def test_labels_come_with_their_keys_or_are_joined(shop: Path) -> None:
    (shop / "pipeline.yaml").write_text(with_labels())
    pipeline = load(shop / "pipeline.yaml")
    assert (pipeline.labelled, pipeline.labels_input) == (["shop"], "labels")
    assert pipeline.topics["labels"] == "chargebacks"
    assert "entity-labels" not in pipeline.topics
    [risk] = [feature for feature in pipeline.windowed("shop") if feature.labelled]
    assert not risk.silence  # after 7 days an event without label is not negative yet
    without = "  event_time: paid\n  keys:\n    card: card\n    shop: shop\n"
    (shop / "pipeline.yaml").write_text(with_labels(without, "").replace("60d", "6d"))
    pipeline = load(shop / "pipeline.yaml")
    assert (pipeline.labels_input, pipeline.topics["entity-labels"]) == ("entity-labels",) * 2
    assert pipeline.windowed("shop")[0].silence


def test_labels_that_no_feature_is_over_are_not_read(shop: Path) -> None:
    asks = "  shop_risk: {rate: label, over: 7d, delay: 7d, by: shop, default: 0}\n"
    (shop / "pipeline.yaml").write_text(with_labels(asks, ""))
    pipeline = load(shop / "pipeline.yaml")
    assert (pipeline.labelled, pipeline.labels_input) == ([], None)
    assert "labels" not in pipeline.topics


@pytest.fixture
def right(shop: Path) -> Pipeline:
    (shop / "right.yaml").write_text(PIPELINE)
    return load(shop / "right.yaml")


def test_a_right_file_is_right(right: Pipeline, shop: Path) -> None:
    assert [bundle.card.version for bundle in check_models(right)] == ["1", "2"]
    assert right.keyed
    assert right.entities == ["card", "shop"]
    assert right.models == [shop / "models/a", shop / "models/b"]
    assert right.topics["events"] == "payments"
    assert right.rule_names["score"] == right.rule_names["shop_mean"] == "number"
    assert right.rule_names["shop.name"] == "string"


def test_the_entity_that_events_are_keyed_by_comes_first(shop: Path) -> None:
    file = shop / "ordered.yaml"
    file.write_text(
        changed(
            ("keyed_by: card", "keyed_by: shop"),
            ("  amount: amount\n", "  amount: amount\n  n: {count: '*', over: 1d, by: both}\n"),
            ("  card: card\n", "  card: card\n  unused: currency\n  both: [card, shop.id]\n"),
            ("by: card", "by: card, default: 0"),
        ).replace("by: both", "by: both, default: 0")
    )
    pipeline = load(file)
    assert pipeline.entities == ["shop", "card", "both"]
    assert pipeline.key("both") == ["card", "shop.id"]


def test_over_files_it_is_the_same_pipeline_but_not_keyed(right: Pipeline, tmp_path: Path) -> None:
    moved = over(right, [tmp_path / "a.avro"])
    assert not moved.keyed
    assert "events" not in moved.topics
    assert moved.spec.events.files == [tmp_path / "a.avro"]
    assert moved.spec.features == right.spec.features
    assert right.keyed


def test_files_of_another_format_are_refused(right: Pipeline) -> None:
    with pytest.raises(SpecError, match=r"'b\.jsonl': events of format avro lie in"):
        over(right, [Path("a.avro"), Path("b.jsonl")])


def test_the_right_file_is_what_the_mistakes_are_made_in() -> None:
    assert all(PIPELINE.count(old) == 1 for old, *_ in MISTAKES.values())
    assert not re.search(r"\t", PIPELINE)


def test_a_path_may_be_text(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere\.yaml"):
        load(str(tmp_path / "nowhere.yaml"))
