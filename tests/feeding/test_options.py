"""The options that the frameworks' loaders pass on are those of the plain one."""

from __future__ import annotations

import inspect

from celeiro.feeding.loader import Loader
from celeiro.feeding.options import Options


def test_the_options_are_those_of_the_loader_with_its_types() -> None:
    parameters = inspect.signature(Loader).parameters.values()
    keywords = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    typed = {name: kind.__forward_arg__ for name, kind in Options.__annotations__.items()}
    assert typed == keywords
