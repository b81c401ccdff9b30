from __future__ import annotations

import importlib
import json
import os
import tracemalloc

import h5py
import numpy as np
import pytest

from celeiro.errors import MissingExtraError, OptionError, SourceError
from celeiro.format.ragged import Ragged
from celeiro.packing.listing import NO_SPLIT
from celeiro.packing.sources import columns, list_source
from celeiro.packing.sources.manifest import list_manifest


@pytest.fixture
def csv_of(tmp_path):
    """A function that writes a CSV manifest and lists it."""

    def make(text, name="set.csv", **options):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return list_manifest(path, **options)

    return make


@pytest.fixture
def json_of(csv_of):
    """A function that writes one JSON object a line and lists them."""

    def make(*rows, **options):
        return csv_of("".join(json.dumps(row) + "\n" for row in rows), "set.jsonl", **options)

    return make


def column_of(csv_of, *cells, name="label"):
    """List a CSV manifest of one column beside the path."""
    return csv_of(f"path,{name}\n" + "".join(f"{i}.jpg,{cell}\n" for i, cell in enumerate(cells)))


# Rows, columns and paths


def test_every_column_finds_its_place(csv_of):
    listing = csv_of(
        "file,class,split,age,weight,wild,name\n"
        "b/1.jpg,dog,train,3,1.5,true,Rex\n"
        "a/2.jpg,cat,test,4,2,false,Mimi é\n"
    )
    assert list(listing.keys) == [b"b/1.jpg", b"a/2.jpg"]
    assert (listing.labels.tolist(), listing.label_names) == ([1, 0], ("cat", "dog"))
    assert (listing.splits.tolist(), listing.split_names) == ([0, 1], ("train", "test"))
    assert {name: column.dtype.str for name, column in listing.fields.items()} == {
        "age": "<i8", "weight": "<f8", "wild": "|u1", "name": "|S7"
    }  # fmt: skip
    assert listing.fields["wild"].tolist() == [1, 0]
    assert listing.fields["name"].tolist() == [b"Rex", "Mimi é".encode()]
    assert listing.labels_from == "manifest"


def test_a_path_alone_is_enough(csv_of):
    listing = csv_of("path\na.jpg\nb.jpg\n")
    assert list(listing.keys) == [b"a.jpg", b"b.jpg"]
    assert (listing.labels, listing.labels_from, dict(listing.fields)) == (None, "none", {})


def test_the_first_column_is_the_path_if_none_is_named_so(csv_of):
    assert list(csv_of("photo,label\na.jpg,1\n").keys) == [b"a.jpg"]


def test_columns_are_known_in_any_case_and_can_be_chosen(csv_of):
    text = "id,Image,Label,other\n1,a.jpg,cat,b.jpg\n"
    assert list(csv_of(text).keys) == [b"a.jpg"]
    listing = csv_of(text, path_column="other", label_column="id")
    assert (list(listing.keys), listing.labels.tolist()) == ([b"b.jpg"], [1])
    assert sorted(listing.fields) == ["Image", "Label"]
    with pytest.raises(OptionError, match="no column 'x'. Wanted: one of id, Image, Label, other"):
        csv_of(text, path_column="x")


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_the_delimiter_is_told_by_the_first_line(csv_of, mark):
    text = 'path,label,note\na.jpg,cat,"x, y; z"\n'.replace("h,l", f"h{mark}l")
    text = text.replace("l,n", f"l{mark}n").replace("g,c", f"g{mark}c").replace("t,", f"t{mark}")
    listing = csv_of(text)
    assert listing.label_names == ("cat",)
    assert listing.fields["note"].tolist() == [b"x, y; z"]


def test_a_byte_order_mark_and_windows_lines_are_fine(csv_of):
    listing = csv_of(b"\xef\xbb\xbfpath,label\r\na.jpg,cat\r\n\r\nb.jpg,dog\r\n")
    assert listing.label_names == ("cat", "dog")


def test_cells_may_hold_lines_and_messages_still_count_right(csv_of):
    text = 'path,note,label\na.jpg,"two\nlines",1\n\nb.jpg,x,1\nc.jpg,x,\n'
    with pytest.raises(SourceError, match=r"set.csv: line 6 \(c.jpg\): no label"):
        csv_of(text)


def test_sizes_and_times_come_from_the_files_and_missing_ones_are_empty(csv_of, tmp_path):
    (tmp_path / "a.jpg").write_text("abc")
    listing = csv_of("path\na.jpg\ngone.jpg\na.jpg\na.jpg/x\n")
    assert listing.sizes.tolist() == [3, 0, 3, 0]
    assert listing.mtimes[0] == (tmp_path / "a.jpg").stat().st_mtime_ns
    assert listing.mtimes[1] == 0


def test_paths_are_kept_as_written(csv_of, tmp_path):
    (tmp_path / "pictures").mkdir()
    inside = os.fspath(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").write_text("abcd")
    text = f"path\n../x.jpg\n{inside}\n".encode() + b"caf\xe9.jpg\n"
    listing = csv_of(text, root=tmp_path / "pictures")
    assert list(listing.keys) == [b"../x.jpg", inside.encode(), b"caf\xe9.jpg"]
    assert listing.sizes.tolist() == [4, 4, 0]
    assert listing.path(1) == inside.encode()


def test_a_folder_in_place_of_a_picture_names_its_row(csv_of, tmp_path):
    (tmp_path / "b.jpg").mkdir()
    with pytest.raises(SourceError, match=r"line 3 \(b.jpg\): this is a folder or device"):
        csv_of("path\na.jpg\nb.jpg\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("path,label\n", "no rows"),
        ("a.jpg,cat\nb.jpg,dog\n", "the first line holds 'a.jpg'.*Add a line such as path,label"),
        (",path\n0,a.jpg\n", "column 1 has no name.*index=False"),
        ("path,a,a\na.jpg,1,2\n", "two columns are named 'a'"),
        ("path,a/b\na.jpg,1\n", "column 'a/b' cannot be stored under this name"),
        ("path,idade.x\na.jpg,1\n", "column 'idade.x' cannot be stored.*neither '/' nor '.'"),
        ("path,a\tb\na.jpg,1\n", r"column 'a\\tb' cannot be stored"),
        ("path,n_offsets\na.jpg,1\n", "'n_offsets' ends like.*_offsets, _shapes, _orientations"),
        ("path,a\na.jpg,1\nb.jpg\n", "line 3 has 1 cells, the first line has 2"),
        ("path,a\na.jpg,1,2\n", "line 2 has 3 cells"),
        ('path,a\na.jpg,"1\nb.jpg,2\n', "line 3: .*Mend the quotes"),
        ("path\ns3://bucket/a.jpg\n", "line 2: path is 's3://bucket/a.jpg'. Wanted: a file"),
        ("path\nhttps://host/a.jpg\n", "Fetch it first"),
        ("path,a\n,1\n", "line 2: path is ''. Wanted: a path"),
        ("path\na\0.jpg\n", "cannot be a file's name"),
        (b"path,note\na.jpg,caf\xe9\n", r"line 2 \(a.jpg\): note 'caf\\udce9' is not UTF-8"),
        (b"path,label\na.jpg,caf\xe9\n", "label .* is not UTF-8"),
        ("path,label\na.jpg,1\n".encode("utf-16"), "not UTF-8 text. Save the table as CSV"),
    ],
)
def test_tables_that_cannot_be_packed_say_why(csv_of, text, message):
    with pytest.raises(SourceError, match=message):
        csv_of(text)


def test_a_manifest_that_is_not_there_or_of_another_kind_is_a_clear_error(csv_of, tmp_path):
    with pytest.raises(SourceError, match="No such file"):
        list_manifest(tmp_path / "none.csv")
    with pytest.raises(SourceError, match=r"not a manifest.*\.csv, \.tsv, \.jsonl"):
        csv_of("path\na.jpg\n", "set.xlsx")


# Labels


@pytest.mark.parametrize(
    ("cells", "labels", "names"),
    [
        (["7", "-1", "7"], [7, -1, 7], ()),
        (["dog", " cat ", "dog"], [1, 0, 1], ("cat", "dog")),
        (["1", "2", "x"], [0, 1, 2], ("1", "2", "x")),
        (["007", "8", "7"], [0, 2, 1], ("007", "7", "8")),
        (["True", "false", "true"], [1, 0, 1], ("false", "true")),
        (["0.5", "1", "-2e3"], [0.5, 1, -2000], ()),
        (["a|b", "b", "c | a"], [[1, 1, 0], [0, 1, 0], [1, 0, 1]], ("a", "b", "c")),
        (["a;b", "b;", "[]"], [[1, 1], [0, 1], [0, 0]], ("a", "b")),
        (["[1]", '"[2,10]"', "[]"], [[1, 0, 0], [0, 1, 1], [0, 0, 0]], ("1", "2", "10")),
    ],
)
def test_labels_are_what_their_column_holds(csv_of, cells, labels, names):
    listing = column_of(csv_of, *cells)
    assert listing.labels.tolist() == labels
    assert listing.label_names == names
    kinds = {"i": "<i8", "f": "<f8", "u": "|u1"}
    assert listing.labels.dtype.str == kinds[listing.labels.dtype.kind]


def test_lists_of_names_are_several_labels(json_of):
    listing = json_of({"path": "a.jpg", "labels": ["sky", "sea"]}, {"path": "b.jpg", "labels": []})
    assert listing.labels.tolist() == [[1, 1], [0, 0]]
    assert listing.label_names == ("sea", "sky")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["cat", None], r"line 2 \(1.jpg\): no label, and other rows have one"),
        (["cat", " "], "line 2 .*no label"),
        (["cat", 3], r"line 2 \(1.jpg\): label is 3, of another type"),
        ([0.5, float("nan")], "line 2 .*label is nan. Wanted: a finite number"),
        ([1, 2**70], "line 2 .*does not fit into 64 bits"),
        ([["a"], [[1]]], r"line 2 \(1.jpg\): label is \[1\], of another type"),
        ([[0.5, 0.5], [1.5]], "Wanted: lists of class names"),
        ([[], []], "Wanted: lists of class names"),
        ([{"a": 1}, {"a": 2}], "line 1 .*label is of type dict"),
    ],
)
def test_labels_that_make_no_sense_name_their_row(json_of, values, message):
    with pytest.raises(SourceError, match=message):
        json_of(*[{"path": f"{i}.jpg", "label": value} for i, value in enumerate(values)])


# Splits, masks, boxes


def test_rows_without_a_split_are_in_none(csv_of):
    listing = column_of(csv_of, "test", "", "train", "valid", name="subset")
    assert listing.split_names == ("train", "valid", "test")
    assert listing.splits.tolist() == [2, NO_SPLIT, 0, 1]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["a", "b/c"], r"line 3 \(1.jpg\): split name 'b/c' cannot be stored"),
        (["0.5"], r"line 2 \(0.jpg\): split is 0.5. Wanted: a name"),
    ],
)
def test_splits_that_cannot_be_stored_name_their_row(csv_of, cells, message):
    with pytest.raises(SourceError, match=message):
        column_of(csv_of, *cells, name="split")
    many = [f"s{i}" for i in range(256)]
    with pytest.raises(SourceError, match="256 splits. Wanted: up to 255"):
        column_of(csv_of, *many, name="split")


def test_a_mask_stands_beside_each_picture(csv_of, tmp_path):
    listing = csv_of("path,mask\na.jpg,m/1.png\nb.jpg,0002\n")
    assert list(listing.masks) == [b"m/1.png", b"0002"]
    assert listing.mask_path(0) == os.fsencode(tmp_path / "m/1.png")
    with pytest.raises(SourceError, match=r"line 3 \(b.jpg\): mask is ''. Wanted: a path"):
        csv_of("path,mask\na.jpg,m/1.png\nb.jpg,\n")


def test_boxes_are_ragged_rows_of_four(csv_of, json_of):
    rows = [[[0, 1, 2, 3.5], [4, 5, 6, 7]], [], None, [8, 9, 10, 11]]
    from_json = json_of(*[{"path": "a.jpg", "boxes": boxes} for boxes in rows]).boxes
    cells = ["" if boxes is None else json.dumps(boxes) for boxes in rows]
    from_csv = csv_of("path\tbbox\n" + "".join(f"a.jpg\t{cell}\n" for cell in cells)).boxes
    for boxes in (from_json, from_csv):
        assert boxes.values.dtype == np.float64
        assert boxes.offsets.tolist() == [0, 2, 2, 2, 3]
        assert boxes[0].tolist() == rows[0]
        assert boxes[3].tolist() == [[8, 9, 10, 11]]


def test_no_boxes_anywhere_are_fine(json_of):
    boxes = json_of({"path": "a.jpg", "boxes": []}, {"path": "b.jpg", "boxes": []}).boxes
    assert boxes.values.shape == (0, 4)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 2, 3]], r"box \[1, 2, 3\]. Wanted: lists of \[x1, y1, x2, y2\]"),
        ("1 2 3 4", "box '1 2 3 4'. Wanted"),
        ([[1, 2, 3, "x"]], "box .*'x'"),
        (5, "box 5"),
        ([[50, 50, 20, 60]], "ends before it begins.*width and height, convert"),
    ],
)
def test_boxes_that_are_none_name_their_row(json_of, boxes, message):
    with pytest.raises(SourceError, match=rf"line 2 \(b.jpg\): .*{message}"):
        json_of({"path": "a.jpg", "boxes": []}, {"path": "b.jpg", "boxes": boxes})


# Fields


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1, -2], "<i8", [1, -2]),
        ([1, 2.5], "<f8", [1, 2.5]),
        ([True, False], "|u1", [1, 0]),
        (["é", None], "|S2", ["é".encode(), b""]),
        ([[1, 2], [3, 4]], "<i8", [[1, 2], [3, 4]]),
        ([[1, 2], [3, 4.5]], "<f8", [[1, 2], [3, 4.5]]),
    ],
)
def test_fields_are_what_their_column_holds(json_of, values, dtype, expected):
    field = json_of(*[{"path": "a.jpg", "f": value} for value in values]).fields["f"]
    assert field.dtype.str == dtype
    assert field.tolist() == expected


@pytest.mark.parametrize("values", [[3, None], [True, None], [None, None], [2.5, None]])
def test_a_gap_among_numbers_is_not_a_number(json_of, values):
    field = json_of(*[{"path": "a.jpg", "f": value} for value in values]).fields["f"]
    assert field.dtype == np.float64
    assert np.isnan(field[1])


def test_a_column_may_be_named_in_any_script(csv_of):
    names = ["rótulo", "年齢", "3 dias (após)", "e\u0301", "é"]
    listing = csv_of(f"path,{','.join(names)}\na.jpg,1,2,3,4,5\n")
    assert list(listing.fields) == names  # nothing is normalised
    assert [column.tolist() for column in listing.fields.values()] == [[1], [2], [3], [4], [5]]


def test_lists_of_several_lengths_are_ragged(json_of):
    for values, dtype in (([[1], [], None, [2, 3]], "<i8"), ([[1.5], [], None, [2, 3]], "<f8")):
        field = json_of(*[{"path": "a.jpg", "f": value} for value in values]).fields["f"]
        assert isinstance(field, Ragged)
        assert field.values.dtype.str == dtype
        assert [row.tolist() for row in (field[0], field[1], field[2], field[3])] == [
            values[0], [], [], [2, 3]
        ]  # fmt: skip


def test_a_field_may_come_late_or_be_left_out(json_of):
    listing = json_of({"path": "a.jpg"}, {"path": "b.jpg", "z": "x", "a": 1}, {"path": "c.jpg"})
    assert list(listing.fields) == ["z", "a"]
    assert listing.fields["z"].tolist() == [b"", b"x", b""]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "x"], "line 2 .*f is 'x', of another type than in the rows before"),
        ([[1], ["x"]], "line 2 .*f holds 'x'. Wanted: lists of numbers"),
        ([[1], [True]], "f holds True"),
        ([[2**70]], "beyond 64 bits"),
        ([{"a": 1}], "f is of type dict.*remove it"),
        (["a\0b"], "is not UTF-8 text"),
    ],
)
def test_fields_that_cannot_be_stored_name_their_row(json_of, values, message):
    with pytest.raises(SourceError, match=message):
        json_of(*[{"path": "a.jpg", "f": value} for value in values])


def test_text_too_wide_to_store_is_refused(json_of, monkeypatch):
    monkeypatch.setattr(columns, "_MAX_FIXED_BYTES", 100)
    with pytest.raises(SourceError, match=r"line 2 \(b.jpg\): caption has 51 bytes, and 2 rows"):
        json_of({"path": "a.jpg", "caption": "x"}, {"path": "b.jpg", "caption": "x" * 51})


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "line 1 is no JSON"), ("[1]", "line 1 is no JSON object"), ("{}", "no rows")],
)
def test_lines_that_are_no_objects_are_named(csv_of, line, message):
    with pytest.raises(SourceError, match=message):
        csv_of(line, "set.ndjson")


def test_blank_lines_are_passed_over_and_counted(csv_of):
    text = '\n{"path": "a.jpg", "label": 1}\n\n{"path": "b.jpg"}\n'
    with pytest.raises(SourceError, match=r"line 4 \(b.jpg\): no label"):
        csv_of(text, "set.jsonl")


# Parquet


def test_parquet_gives_what_json_gives(json_of, tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [
        {"path": "a.jpg", "label": "cat", "n": 1, "x": 0.5, "b": True, "v": [1, 2]},
        {"path": "b.jpg", "label": "dog", "n": 2, "x": None, "b": False, "v": [3]},
    ]
    rows[0]["boxes"], rows[1]["boxes"] = [[0, 0, 1, 1]], []
    expected = json_of(*rows)
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "set.parquet")
    listing = list_manifest(tmp_path / "set.parquet")
    assert listing.keys == expected.keys
    assert listing.labels.tolist() == expected.labels.tolist()
    assert listing.label_names == expected.label_names
    assert list(listing.fields) == list(expected.fields)
    for name in ("n", "x", "b"):
        assert np.array_equal(listing.fields[name], expected.fields[name], equal_nan=True)
    for ours, theirs in (
        (listing.fields["v"], expected.fields["v"]),
        (listing.boxes, expected.boxes),
    ):
        assert ours.values.tolist() == theirs.values.tolist()
        assert ours.offsets.tolist() == theirs.offsets.tolist()


def test_parquet_rows_and_types_are_named(tmp_path):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "set.parquet"
    parquet.write_table(pa.table({"path": ["a.jpg", "b.jpg"], "label": ["x", None]}), path)
    with pytest.raises(SourceError, match=r"set.parquet: row 2 \(b.jpg\): no label"):
        list_manifest(path)
    when = pa.array([0, 1], pa.timestamp("s"))
    parquet.write_table(pa.table({"path": ["a.jpg", "b.jpg"], "when": when}), path)
    with pytest.raises(SourceError, match="when is of type datetime"):
        list_manifest(path)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(SourceError, match="Wanted: a Parquet file that is whole"):
        list_manifest(path)


def test_parquet_without_pyarrow_gives_the_line_to_type(tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'celeiro\[parquet\]'"):
        list_manifest(tmp_path / "set.parquet")


# Memory, and the choice between folder and manifest


def test_a_row_costs_less_than_200_bytes(csv_of):
    count, folder = 3000, "some/folder/of/photographs"
    rows = (f"{folder}/picture_{i:09d}.jpg,class{i % 9},{i % 5}\n" for i in range(count))
    text = "path,label,x\n" + "".join(rows)
    csv_of(text)
    tracemalloc.start()
    csv_of(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * count


@pytest.fixture
def folder(tmp_path):
    for name in ("cats/1.jpg", "dogs/1.jpg"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True)
        (tmp_path / "photos" / name).write_text("x")
    (tmp_path / "set.csv").write_text("path,label\ncats/1.jpg,5\n")
    return tmp_path / "photos"


def test_a_source_is_a_folder_a_manifest_or_both(folder):
    manifest = folder.parent / "set.csv"
    assert list_source(folder).label_names == ("cats", "dogs")
    assert list_source(folder, labels="none").labels is None
    assert list_source(folder, label_pattern="(.)/").label_names == ("s",)
    assert list_source(manifest).sizes.tolist() == [0]
    both = list_source(os.fspath(folder), labels=manifest)
    assert (both.sizes.tolist(), both.labels.tolist()) == ([1], [5])
    without = list_source(manifest, labels="none")
    assert (without.labels, without.labels_from) == (None, "none")


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ("photos", {"labels": "files"}, OptionError, "'files': wanted auto, folder, name, none"),
        ("photos", {"labels": "set.csv", "label_pattern": "(x)"}, OptionError, "contradict"),
        ("set.csv", {"labels": "name"}, OptionError, "stand in its columns"),
        ("set.csv", {"label_pattern": "(x)"}, OptionError, "stand in its columns"),
        ("gone", {}, SourceError, "no such folder or manifest"),
        ("photos/cats/1.jpg", {}, SourceError, "neither a folder nor a manifest"),
    ],
)  # fmt: skip
def test_choices_that_make_no_sense_are_refused(folder, source, options, error, message):
    with pytest.raises(error, match=message):
        list_source(folder.parent / source, **options)


def test_an_hdf5_file_is_sent_to_repack(tmp_path):
    with h5py.File(tmp_path / "there.h5", "w") as file:
        file["images"] = [1]
    with pytest.raises(SourceError, match="neither a folder nor .* an HDF5 file, .*celeiro repack"):
        list_source(tmp_path / "there.h5")
