"""What `verdict check` says of each wrong pipeline file: the whole text, to be read as a page."""

from collections.abc import Callable
from pathlib import Path

from tests.pipelines.spec import test_load as mistakes

shop = mistakes.shop


def test_errors_say_the_same(golden: Callable[[str, str], None], shop: Path) -> None:
    texts = {
        name: mistakes.changed((old, new)) for name, (old, new, *_) in mistakes.MISTAKES.items()
    }
    texts |= {
        f"labels: {name}": mistakes.with_labels(old, new)
        for name, (old, new, *_) in mistakes.LABEL_MISTAKES.items()
    }
    page = []
    for name, text in texts.items():
        errors = mistakes.errors(shop, text)
        page += [f"# {name}", *(error.replace(f"{shop}/", "") for error in errors), ""]
    golden("mistakes.txt", "\n".join(page))
