"""`celeiro similar`: what is like what, what is there twice, and which labels look wrong."""

from __future__ import annotations

import itertools
import json
import re
import sys
from types import GeneratorType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeiro.care.checking.verdict import printed
from celeiro.cli.progress import watched
from celeiro.cli.words import bytes_of, number_of, print_out, say, time_of
from celeiro.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from celeiro.features.likeness.result import Duplicates, Group, Neighbours, Sample, Suspects
    from celeiro.reading.dataset import Dataset

_MOST = 20
_MOST_MEMBERS = 8
_LONGEST = 48


def similar(
    features: Annotated[
        str, typer.Argument(metavar="FEATURES", help="A file of features; it is only read.")
    ],
    samples: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SAMPLE...]", help="Keys or numbers: tell what is like these."),
    ] = None,
    picture: Annotated[
        str | None, typer.Option(metavar="FILE", help="Tell what is like this picture.")
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Tell what is there twice, leaks first.")
    ] = False,
    suspects: Annotated[
        bool, typer.Option("--suspects", help="Tell which labels disagree with those around.")
    ] = False,
    k: Annotated[
        int | None,
        typer.Option(
            "--neighbours",
            "-k",
            min=1,
            metavar="K",
            help="How many. [default: 10, or 15 that vote]",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="COSINE",
            help="Of --duplicates: from here on. 1: the same to the bit. [default: 0.95]",
        ),
    ] = None,
    between_splits: Annotated[
        bool,
        typer.Option("--between-splits", help="Of --duplicates: only those in several splits."),
    ] = False,
    exact: Annotated[
        bool | None,
        typer.Option(
            "--exact/--approximate",
            help="Compare every pair of the file. [default: if it is quick]",
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="NAME", help="Data set of the features.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Field of a further layer instead.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="NAME", help="Data set of the labels.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Of --picture. [default: the file's]")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="Of --picture: the model's weights.")
    ] = None,
    images: Annotated[
        str | None, typer.Option(metavar="SRC", help="Of --plot: the pictures. [default: found]")
    ] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw thumbnails (PNG, JPEG, WebP).")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what --plot names.")
    ] = False,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Of blocks of the file, about. [default: 1GB]"),
    ] = None,
    list_all: Annotated[
        bool, typer.Option("--all", help=f"List all, not the first {_MOST}.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find what is like what: neighbours of samples, duplicates and leaks, suspect labels.

    Without samples and choices: duplicates, and suspects where there are labels.

    Example:

      celeiro similar features.h5 cat.17.jpg --plot like.png

      celeiro similar features.h5 --duplicates --between-splits
    """
    from celeiro.features.classes import has_classes
    from celeiro.features.likeness.sheet import changed, check_target, draw_sheet
    from celeiro.reading.dataset import open as open_dataset

    asked = [*(samples or []), *([picture] if picture is not None else [])]
    if asked and (duplicates or suspects):
        raise OptionError(
            f"{asked[0]!r} and {'--duplicates' if duplicates else '--suspects'}: wanted one of "
            "them. Ask once for what is like a sample, and once for all of the file."
        )
    everything = not (asked or duplicates or suspects)
    given = {
        "--neighbours": k, "--threshold": threshold, "--between-splits": between_splits or None,
        "--exact" if exact else "--approximate": exact, "--memory": memory, "--model": model,
        "--weights": weights, "--images": images, "--overwrite": overwrite or None,
        "--all": list_all or None,
    }  # fmt: skip
    _check_used(
        {name for name, value in given.items() if value is not None},
        sample=bool(asked), picture=picture is not None, duplicates=duplicates or everything,
        suspects=suspects or everything, plot=plot is not None,
    )  # fmt: skip
    if plot is not None:
        check_target(plot, overwrite=overwrite)
    choices: dict[str, Any] = {"layer": layer}
    search: dict[str, Any] = {**choices, "exact": exact, "memory": bytes_of(memory or "1GB")}
    with open_dataset(features, key, labels=labels) as ds:
        if plot is not None or picture is not None:
            _warn(changed(ds, images if picture is None else None))
        found: list[Any] = []
        if asked:
            found += _asked(ds, samples or [], picture, k or 10, model, weights, choices)
        else:
            with watched(quiet=quiet) as watch:
                if duplicates or everything:
                    watch.begin("looking for duplicates")
                    found.append(_duplicates(ds, threshold, between_splits, watch, search))
                if suspects or (everything and has_classes(ds)):
                    watch.begin("looking for suspects")
                    found.append(_suspects(ds, k, watch, search))
        if plot is not None:
            draw_sheet(found, plot, features=ds, images=images, asked=picture, overwrite=overwrite)
    if as_json:
        _print_json(_json(found))
    else:
        for at, result in enumerate(found):
            print_out("") if at else None
            _tell(result, None if list_all else _MOST)
    if plot is not None:
        say(f"drawn: {plot}")


def _check_used(
    given: set[str], *, sample: bool, picture: bool, duplicates: bool, suspects: bool, plot: bool
) -> None:
    """Refuse options that nothing would come of."""
    whole = duplicates or suspects
    uses = {
        "--neighbours": (sample or suspects, "samples, --picture or --suspects"),
        "--threshold": (duplicates, "--duplicates"),
        "--between-splits": (duplicates, "--duplicates"),
        "--exact": (whole, "--duplicates or --suspects"),
        "--approximate": (whole, "--duplicates or --suspects"),
        "--memory": (whole, "--duplicates or --suspects"),
        "--all": (whole, "--duplicates or --suspects (neighbours: -k)"),
        "--model": (picture, "--picture"),
        "--weights": (picture, "--picture"),
        "--images": (plot, "--plot"),
        "--overwrite": (plot, "--plot"),
    }
    for name, (used, goes_with) in uses.items():
        if name in given and not used:
            raise OptionError(f"{name} goes with {goes_with}. Leave it out, or ask for that.")


def _warn(change: str | None) -> None:
    if change is not None:
        say(f"warning: {change}")


def _asked(
    ds: Dataset, samples: Sequence[str], picture: str | None, k: int, model: str | None,
    weights: str | None, choices: dict[str, Any],
) -> list[Neighbours]:  # fmt: skip
    from celeiro.features.similar import neighbours

    found = [neighbours(ds, _which(ds, sample), k, **choices) for sample in samples]
    if picture is not None:
        from celeiro.features.likeness.picture import features_of

        vector = features_of(picture, ds, model=model, weights=weights, **choices)
        found.append(neighbours(ds, vector, k, **choices))
    return found


def _duplicates(
    ds: Dataset, threshold: float | None, between: bool, watch: Any, search: dict[str, Any]
) -> Duplicates:
    from celeiro.features.similar import THRESHOLD
    from celeiro.features.similar import duplicates as look_for

    least = THRESHOLD if threshold is None else threshold
    # A cosine of 1 is a matter of rounding: what is meant is the same to the bit, which is quick.
    return look_for(
        ds, None if least == 1 else least, between_splits=between, on_progress=watch, **search
    )


def _suspects(ds: Dataset, k: int | None, watch: Any, search: dict[str, Any]) -> Suspects:
    from celeiro.features.similar import suspects as look_for

    choices = search if k is None else {**search, "k": k}
    return look_for(ds, on_progress=watch, **choices)


def _which(ds: Dataset, text: str) -> int | str:
    """A number, unless that is a key as well."""
    if not re.fullmatch(r"\d+", text):
        return text
    named = ds.keys is not None and text in ds.keys
    return text if named else int(text)


# What is printed


def _json(found: list[Any]) -> dict[str, Any]:
    from celeiro.features.likeness.result import Duplicates, Neighbours

    told: dict[str, Any] = {}
    for result in found:
        if isinstance(result, Neighbours):
            told.setdefault("neighbours", []).append(result.to_json_stream())
        else:
            name = "duplicates" if isinstance(result, Duplicates) else "suspects"
            told[name] = result.to_json_stream()
    return told


def _print_json(value: Any) -> None:
    """As `print_json`, but what an iterator gives is written one by one, and never held."""
    for piece in _pieces(value, ""):
        sys.stdout.write(piece)
    sys.stdout.write("\n")


def _pieces(value: Any, indent: str) -> Iterator[str]:
    """JSON in lines, each `indent` deep at least."""
    if not isinstance(value, _DEEPER):
        yield json.dumps(value)
        return
    marks = "{}" if isinstance(value, dict) else "[]"
    if not isinstance(value, GeneratorType):
        parts = value.values() if isinstance(value, dict) else value
        if not any(isinstance(part, _DEEPER) for part in parts):
            yield _flat(value, marks, indent)
            return
    each: Iterator[tuple[str, Any]] = (("", part) for part in value)
    if isinstance(value, dict):
        each = ((f"{json.dumps(name)}: ", part) for name, part in value.items())
    yield marks[0]
    begin, deeper = "\n", indent + "  "
    for name, part in each:
        yield f"{begin}{deeper}{name}"
        yield from _pieces(part, deeper)
        begin = ",\n"
    yield marks[1] if begin == "\n" else f"\n{indent}{marks[1]}"


_DEEPER = (dict, list, GeneratorType)


def _flat(value: dict[str, Any] | list[Any], marks: str, indent: str) -> str:
    """What holds nothing deeper, at once: piece by piece takes several times as long."""
    if not value:
        return marks
    line = f"\n{indent}  "
    told = json.dumps(value, separators=(f",{line}", ": "))
    return f"{marks[0]}{line}{told[1:-1]}\n{indent}{marks[1]}"


def _tell(result: Any, most: int | None) -> None:
    from celeiro.features.likeness.result import Duplicates, Neighbours

    if isinstance(result, Neighbours):
        _tell_neighbours(result)
    elif isinstance(result, Duplicates):
        _tell_duplicates(result, most)
    else:
        _tell_suspects(result, most)


def _tell_neighbours(result: Neighbours) -> None:
    of = "the picture" if result.of is None else f"{result.of.name}{_in_brackets(result.of)}"
    print_out(f"like {of}, of {number_of(result.samples, 'sample')}:")
    _table(
        ("cosine", "sample", "key", "label", "split"),
        lambda: ((f"{e.similarity:.4f}", *_about(e.sample)) for e in result.found),
        right=(0, 1),
    )


def _tell_duplicates(result: Duplicates, most: int | None) -> None:
    how = f"{result.exact:,} the same to the bit, the others from cosine {result.threshold:g}"
    if result.threshold == 1:
        how = "the same to the bit"
    print_out(
        f"duplicates: {number_of(len(result.groups), 'group')} ({how}), {result.leaks:,} between "
        f"splits; {number_of(result.surplus, 'sample')} too many of {result.samples:,}; "
        f"in {time_of(result.seconds)}"
    )
    heads = ("", "cosine", "sample", "key", "label", "split")
    members = None if most is None else _MOST_MEMBERS
    _table(heads, lambda: _grouped(result.groups[:most], members), right=(1, 2))
    _end(result, len(result.groups), most, "groups", "near duplicates")


def _grouped(groups: Iterable[Group], most: int | None) -> Iterator[tuple[str, ...]]:
    """A row for each member, or for the first ones of each group."""
    for group in groups:
        words = [("LEAK", group.is_leak), ("LABELS", group.labels_differ)]
        what = " ".join(word for word, is_so in words if is_so)
        # One that is hidden would take as much room as the line that says so.
        few = None if most is None or len(group.members) <= most + 1 else most
        for each in group.members[:few]:
            score = "same" if group.exact else f"{each.similarity:.4f}"
            yield (what, score, *_about(each.sample))
            what = ""
        if few is not None:
            yield ("", "", "", f"… and {len(group.members) - few:,} more", "", "")


def _tell_suspects(result: Suspects, most: int | None) -> None:
    print_out(
        f"suspect labels: {len(result.found):,} of {number_of(result.samples, 'sample')}, by "
        f"{result.k} neighbours; in {time_of(result.seconds)}"
    )
    _table(
        ("score", "sample", "key", "label", "split", "neighbours say"),
        lambda: (
            (f"{e.score:.3f}", *_about(e.sample), _short(e.said_name or str(e.said)))
            for e in result.found[:most]
        ),
        right=(0, 1),
    )
    _end(result, len(result.found), most, "samples", "neighbours")


def _end(
    result: Duplicates | Suspects, count: int, most: int | None, what: str, missed: str
) -> None:
    if most is not None and count > most:
        print_out(f"… and {count - most:,} more {what} (--all lists them)")
    if not result.exact_search:
        print_out(f"note: not every pair was compared: some {missed} may be missing (--exact)")
    for note in result.notes:
        print_out(f"note: {note}")


def _about(sample: Sample) -> tuple[str, str, str, str]:
    """Number, key, label, split."""
    label = "" if sample.label is None else str(sample.label)
    key = "" if sample.key is None else _short(printed(sample.key))
    return f"{sample.number:,}", key, _short(sample.label_name or label), _short(sample.split or "")


def _in_brackets(sample: Sample) -> str:
    told = [part for part in (sample.label_name, sample.split) if part]
    return f" ({', '.join(printed(part) for part in told)})" if told else ""


def _short(text: str) -> str:
    """The end of a long name, where names differ; nothing that moves the cursor."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in printed(text))
    return shown if len(shown) <= _LONGEST else "…" + shown[1 - _LONGEST :]


def _table(
    heads: Sequence[str], rows: Callable[[], Iterable[Sequence[str]]], *, right: tuple[int, ...]
) -> None:
    """Columns, without those that nothing stands in; nothing where there are no rows.

    Rows are made twice, to measure and to print them, and never held: they may be millions.
    """
    from rich.cells import cell_len

    widths = [0] * len(heads)
    for row in rows():
        widths = [max(width, cell_len(text)) for width, text in zip(widths, row, strict=True)]
    used = [at for at, width in enumerate(widths) if width]
    for row in itertools.chain([heads], rows()) if used else ():
        cells = []
        for at in used:
            space = " " * (max(widths[at], cell_len(heads[at])) - cell_len(row[at]))
            cells.append(space + row[at] if at in right else row[at] + space)
        print_out("  ".join(cells).rstrip())
