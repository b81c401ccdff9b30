"""`celeiro similar`: what is like what, what is there twice, and which labels look wrong."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeiro.care.checking.verdict import printed
from celeiro.cli.progress import watched
from celeiro.cli.words import bytes_of, number_of, print_json, print_out, say, time_of
from celeiro.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from celeiro.features.likeness.result import Duplicates, Neighbours, Sample, Suspects
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
            "--neighbours", "-k", min=1, metavar="K", help="How many. [default: 10, or 15]"
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="COSINE", help="Nearly the same from here. [default: 0.95]"),
    ] = None,
    between_splits: Annotated[
        bool, typer.Option("--between-splits", help="Tell only duplicates in several splits.")
    ] = False,
    exact: Annotated[
        bool | None,
        typer.Option("--exact/--approximate", help="Compare every pair. [default: if it is quick]"),
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
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Of blocks, about.")] = "1GB",
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
    from celeiro.features.likeness.sheet import check_target, draw_sheet
    from celeiro.reading.dataset import open as open_dataset

    asked = [*(samples or []), *([picture] if picture is not None else [])]
    if asked and (duplicates or suspects):
        raise OptionError(
            f"{asked[0]!r} and {'--duplicates' if duplicates else '--suspects'}: wanted one of "
            "them. Ask once for what is like a sample, and once for all of the file."
        )
    if plot is not None:
        check_target(plot, overwrite=overwrite)
    choices: dict[str, Any] = {"layer": layer}
    search: dict[str, Any] = {**choices, "exact": exact, "memory": bytes_of(memory)}
    with open_dataset(features, key, labels=labels) as ds:
        found: list[Any] = []
        if asked:
            found += _asked(ds, samples or [], picture, k or 10, model, weights, choices)
        else:
            everything = not (duplicates or suspects)
            with watched(quiet=quiet) as watch:
                if duplicates or everything:
                    watch.begin("looking for duplicates")
                    found.append(_duplicates(ds, threshold, between_splits, watch, search))
                if suspects or (everything and _has_classes(ds)):
                    watch.begin("looking for suspects")
                    found.append(_suspects(ds, k, watch, search))
        if plot is not None:
            draw_sheet(found, plot, features=ds, images=images, asked=picture, overwrite=overwrite)
    if as_json:
        print_json(_json(found))
    else:
        for at, result in enumerate(found):
            print_out("") if at else None
            _tell(result, None if list_all else _MOST)
    if plot is not None:
        say(f"drawn: {plot}")


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
    return look_for(ds, least, between_splits=between, on_progress=watch, **search)


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


def _has_classes(ds: Dataset) -> bool:
    return ds.labels is not None and ds.labels.ndim == 1 and ds.labels.dtype.kind in "bui"


# What is printed


def _json(found: list[Any]) -> dict[str, Any]:
    from celeiro.features.likeness.result import Duplicates, Neighbours

    told: dict[str, Any] = {}
    for result in found:
        if isinstance(result, Neighbours):
            told.setdefault("neighbours", []).append(result.to_json())
        else:
            name = "duplicates" if isinstance(result, Duplicates) else "suspects"
            told[name] = result.to_json()
    return told


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
    rows = ((f"{e.similarity:.4f}", *_about(e.sample)) for e in result.found)
    _table(("cosine", "sample", "key", "label", "split"), rows, right=(0, 1))


def _tell_duplicates(result: Duplicates, most: int | None) -> None:
    exact = sum(group.exact for group in result.groups)
    print_out(
        f"duplicates: {number_of(len(result.groups), 'group')} ({exact:,} the same to the bit, the "
        f"others from cosine {result.threshold:g}), {result.leaks:,} between splits; "
        f"{number_of(result.surplus, 'sample')} too many of {result.samples:,}; "
        f"in {time_of(result.seconds)}"
    )
    rows = []
    for group in result.groups[:most]:
        words = [("LEAK", group.is_leak), ("LABELS", group.labels_differ)]
        what = " ".join(word for word, is_so in words if is_so)
        for at, each in enumerate(group.members if most is None else group.members[:_MOST_MEMBERS]):
            score = "same" if group.exact else f"{each.similarity:.4f}"
            rows.append((what if not at else "", score, *_about(each.sample)))
        hidden = len(group.members) - _MOST_MEMBERS
        if most is not None and hidden > 0:
            rows.append(("", "", "", f"… and {hidden:,} more", "", ""))
    if rows:
        _table(("", "cosine", "sample", "key", "label", "split"), rows, right=(1, 2))
    _end(result, len(result.groups), most, "groups", "near duplicates")


def _tell_suspects(result: Suspects, most: int | None) -> None:
    print_out(
        f"suspect labels: {len(result.found):,} of {number_of(result.samples, 'sample')}, by "
        f"{result.k} neighbours; in {time_of(result.seconds)}"
    )
    rows = (
        (f"{e.score:.3f}", *_about(e.sample), _short(e.said_name or str(e.said)))
        for e in result.found[:most]
    )
    if result.found:
        heads = ("score", "sample", "key", "label", "split", "neighbours say")
        _table(heads, rows, right=(0, 1))
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


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: tuple[int, ...]) -> None:
    """Columns, without those that nothing stands in."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [tuple(row) for row in rows]
    used = [at for at in range(len(heads)) if any(row[at] for row in cells)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for at in used:
        justify = "right" if at in right else "left"
        table.add_column(Text(heads[at]), justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in cells:
        table.add_row(*(Text(row[at]) for at in used))
    drawn = io.StringIO()
    Console(file=drawn, width=400, color_system=None, highlight=False).print(table)
    for line in drawn.getvalue().splitlines():
        print_out(line.rstrip())
