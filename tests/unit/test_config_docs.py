"""The reference pages are what the code says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from scripts import docs_reference

from asbx.config.schema import Config
from asbx.config.section import Section

DOCS = Path(__file__).parents[2] / "docs"


def models(root: type[BaseModel] = Section) -> Iterator[type[BaseModel]]:
    """Yield every section of the schema."""
    for model in root.__subclasses__():
        yield model
        yield from models(model)


@pytest.mark.parametrize("name", docs_reference.PAGES)
def test_reference_pages_are_up_to_date(name: str) -> None:
    """Every generated page is the one in the repository; scripts/docs_reference.py writes them anew."""
    assert docs_reference.pages()[name] == (DOCS / "reference" / name).read_text(encoding="utf-8")


def test_every_key_says_what_it_means() -> None:
    """No key of the configuration is without a description."""
    assert Config in set(models())
    silent = [f"{m.__name__}.{n}" for m in models() for n, field in m.model_fields.items() if not field.description]
    assert silent == []


def test_tags_of_a_launch_are_all_documented() -> None:
    """Tags in the code and tags on the page are the same."""
    source = (DOCS.parent / "src/asbx/decide/tags.py").read_text(encoding="utf-8")
    used = set(re.findall(r'"(asbx:[a-z]+|ManagedBy)"', source))
    assert used <= set(docs_reference.TAGS)


def test_links_between_pages_lead_somewhere() -> None:
    """No page links to a page that is not there."""
    broken = [
        f"{page.relative_to(DOCS)} -> {target}"
        for page in DOCS.rglob("*.md")
        for target in re.findall(r"\]\(([^)#:]+\.md)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []
