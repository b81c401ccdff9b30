"""The names of the format: spelled once, and the same on the format page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import celeiro
from celeiro.errors import OptionError
from celeiro.format import layout

SOURCE = Path(celeiro.__file__).parent
PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")

ATTRIBUTES = (
    layout.ATTR_VERSION,
    layout.ATTR_STORE,
    layout.ATTR_KEY,
    layout.ATTR_COLOR,
    layout.ATTR_PROVENANCE,
    layout.ATTR_CRC,
    layout.ATTR_MEASURED,
    layout.ATTR_FILE_END,
)
DATA_SETS = (
    layout.DATA_KEY,
    layout.offsets(layout.DATA_KEY),
    layout.shapes(layout.DATA_KEY),
    layout.orientations(layout.DATA_KEY),
    layout.reencoded(layout.DATA_KEY),
    layout.LABELS,
    layout.LABEL_NAMES,
    layout.KEYS,
    layout.offsets(layout.KEYS),
    layout.split("NAME"),
    layout.MEAN,
    layout.STD,
    layout.field("NAME"),
    layout.field("boxes"),
    layout.field("mask"),
    layout.CRC,
    layout.INDEX,
    layout.field_crc("mask"),
    layout.field_index("mask"),
)


def test_the_format_page_names_every_name_of_the_layout() -> None:
    named = set(re.findall(r"`([^`\n]+)`", PAGE))
    assert {*ATTRIBUTES, *DATA_SETS, *layout.STORES} <= named
    assert {layout.MEASURED_STORED, layout.MEASURED_INPUT} <= named


def test_the_layout_knows_every_name_that_the_format_page_defines() -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    named = set(re.findall(r"`([^`]+)`", " ".join(rows)))
    assert named == {*ATTRIBUTES[:5], *DATA_SETS, *layout.STORES} - {layout.offsets(layout.KEYS)}


def test_the_format_page_tells_this_version_and_no_later_one() -> None:
    versions = re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
    assert versions == [str(v) for v in range(1, layout.VERSION + 1)]
    assert PAGE.startswith(f"# The format, version {layout.VERSION}\n")


def test_no_other_file_spells_a_name_of_the_machine() -> None:
    # Names that are also plain words (labels, mean) occur elsewhere with other meanings.
    names = {*ATTRIBUTES[1:5], layout.ATTR_FILE_END, layout.CRC, layout.INDEX}
    spelled = {
        (path.name, node.value)
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Constant) and node.value in names
    }
    assert spelled == {("layout.py", name) for name in names}


def test_no_two_names_are_alike() -> None:
    assert len(set(DATA_SETS)) == len(DATA_SETS)
    assert len(set(ATTRIBUTES)) == len(ATTRIBUTES)


@pytest.mark.parametrize("key", ["imagens", "x", "_", "my images-2", "Labels", "x" * 300])
def test_plain_names_are_data_keys(key: str) -> None:
    layout.check_key(key)


@pytest.mark.parametrize(
    "key", ["", " x", "2x", "a/b", "..", ".", "/", "a.b", "é", "x\n", "x\0", "-", "a\tb"]
)
def test_a_data_key_that_is_no_plain_name_is_refused(key: str) -> None:
    with pytest.raises(OptionError, match="plain name"):
        layout.check_key(key)


@pytest.mark.parametrize("key", sorted(layout.RESERVED | {layout.offsets(layout.KEYS)}))
def test_a_data_key_that_the_format_uses_itself_is_refused(key: str) -> None:
    with pytest.raises(OptionError, match="name of the format itself"):
        layout.check_key(key)


def test_whatever_stands_at_the_root_is_reserved() -> None:
    roots = {name.split("/")[0] for name in DATA_SETS if not name.startswith(layout.DATA_KEY)}
    assert roots - {layout.offsets(layout.KEYS)} == layout.RESERVED
