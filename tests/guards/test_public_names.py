"""What `celeiro` exports is sorted, complete and explained."""

from __future__ import annotations

import celeiro
from celeiro import errors


def own_names(module: object) -> set[str]:
    """Public functions and classes of ours that stand in a module."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and str(getattr(value, "__module__", "")).startswith("celeiro")
    }


def test_public_names_are_sorted_constants_then_classes_then_the_rest() -> None:
    def order(name: str) -> tuple[bool, bool, str]:
        return not name.isupper(), not name[0].isupper(), name

    assert celeiro.__all__ == sorted(celeiro.__all__, key=order)
    assert errors.__all__ == sorted(errors.__all__, key=order)


def test_every_public_name_is_exported() -> None:
    assert own_names(celeiro) <= set(celeiro.__all__)
    assert own_names(errors) == set(errors.__all__)


def test_every_public_name_is_there_and_has_a_docstring() -> None:
    named = {name: getattr(celeiro, name) for name in celeiro.__all__}
    named |= {name: getattr(errors, name) for name in errors.__all__}
    assert [name for name, value in named.items() if not value.__doc__] == []
