"""`celeiro probe`: how well a linear classifier tells the classes of features apart."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from celeiro.cli.progress import watched
from celeiro.cli.words import bytes_of, number_of, print_json, print_out, table, time_of, together
from celeiro.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from celeiro.features.probing.result import ClassReport, Probe


# Of more classes only the worst are listed, and of a larger matrix only the pairs.
_MOST_LISTED = 30
_MOST_DRAWN = 20
_MOST_PAIRS = 15
# With more classes than this there is room for shares of a row, and no longer for counts.
_MOST_COUNTED = 8
_LONGEST_NAME = 20


def probe(
    features: Annotated[
        str, typer.Argument(metavar="FEATURES", help="A file of features; it is only read.")
    ],
    key: Annotated[
        str | None, typer.Option(metavar="NAME", help="Data set of the features.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="NAME", help="Data set of the labels.")
    ] = None,
    train: Annotated[
        str | None, typer.Option(metavar="SPLIT", help="Learn from it. [default: train]")
    ] = None,
    test: Annotated[
        str | None, typer.Option(metavar="SPLIT", help="Test on it. [default: test, else val]")
    ] = None,
    C: Annotated[
        str | None,
        typer.Option("--C", metavar="C,...", help="Choose among these. [default: 0.0001,...,10]"),
    ] = None,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Take no more than, about.")] = "1GB",
    seed: Annotated[int, typer.Option(metavar="N", help="Of drawing a quarter, and of folds.")] = 0,
    plot: Annotated[
        str | None, typer.Option(metavar="PNG", help="Draw the confusion matrix.")
    ] = None,
    save: Annotated[
        str | None, typer.Option(metavar="FILE", help="Keep the classifier (skops; no pickle).")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what --plot and --save name.")
    ] = False,
    list_all: Annotated[
        bool, typer.Option("--all", help=f"List all classes, not the worst {_MOST_LISTED}.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Threads that read. [default: one a core]")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell how well a linear classifier (logistic regression) tells classes apart by features.

    Learns from the split train and tests on test, or on a quarter of each class. Features that
    exceed --memory are gone through block by block.

    Example:

      celeiro probe features.h5 --plot confusion.png
    """
    from celeiro.features.probe import GRID
    from celeiro.features.probe import probe as look_at

    if overwrite and plot is None and save is None:
        raise OptionError("--overwrite goes with --plot and --save. Leave it out, or name a file.")
    choices: dict[str, Any] = {
        "key": key, "labels": labels, "train": train, "test": test, "memory": bytes_of(memory),
        "C": GRID if C is None else _numbers(C), "seed": seed, "plot": plot, "save": save,
        "overwrite": overwrite, "workers": workers,
    }  # fmt: skip
    with watched(quiet=quiet) as watch:
        watch.begin(f"probing {features}")
        found = look_at(features, on_progress=watch, **choices)
    if as_json:
        print_json(found.to_json())
    else:
        _tell(found, None if list_all else _MOST_LISTED)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"--C {text!r}: wanted numbers such as 0.01,0.1,1.") from None


def _tell(found: Probe, most: int | None) -> None:
    for line in table(_about(found)):
        print_out(line)
    print_out("")
    for line in _report(found, most):
        print_out(line)
    print_out("")
    if len(found.classes) <= _MOST_DRAWN:
        _print_rich(matrix(found))
    else:
        for line in _pairs(found):
            print_out(line)
    for note in found.notes:
        print_out(f"note: {note}")


def _about(found: Probe) -> Iterator[tuple[str, str]]:
    classes = len(found.classes)  # at least two
    yield "file", f"{found.path}, {found.key}: {found.dim:,} values a sample, {classes:,} classes"
    yield "learned from", f"{number_of(found.train_samples, 'sample')}, {found.trained_on}"
    yield "tested on", f"{number_of(found.test_samples, 'sample')}, {found.tested_on}"
    yield "C", f"{found.C:g}, chosen on {found.chosen_on}"
    if found.scores:
        yield "", together(f"{score.C:g} {_percent(score.accuracy)}" for score in found.scores)
    how = f"{found.passes:,} passes over the file" if found.passes else "in memory"
    yield "time", f"{time_of(found.seconds)}, {how}"
    yield "rank-1", _percent(found.rank1)
    if len(found.classes) > 5:
        yield "rank-5", _percent(found.rank5)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _report(found: Probe, most: int | None) -> Iterator[str]:
    """Precision, recall, F1 and support of each class; of very many, of the worst."""
    shown: list[ClassReport] = list(found.classes)
    if most is not None and len(shown) > most:
        shown = sorted(shown, key=lambda each: each.f1)[:most]
    width = max(len("class"), *(len(_short(each.name)) for each in shown))
    yield f"{'class':<{width}}  precision  recall      F1  support"
    for each in shown:
        yield (
            f"{_short(each.name):<{width}}  {each.precision:>9.4f}  {each.recall:.4f}  "
            f"{each.f1:.4f}  {each.support:>7,}"
        )
    hidden = len(found.classes) - len(shown)
    if hidden:
        yield f"… and {hidden:,} better ones (--all lists them)"


def _pairs(found: Probe) -> Iterator[str]:
    """The pairs of classes that are taken for each other most often."""
    pairs = found.most_confused(_MOST_PAIRS)
    yield "most often confused:" if pairs else "no sample is taken for another class"
    for pair in pairs:
        yield (
            f"  {_short(pair.true)} taken for {_short(pair.taken_for)}: {pair.count:,} "
            f"({100 * pair.share:.1f} % of them)"
        )


def matrix(found: Probe) -> list[Text]:
    """The confusion matrix: rows what samples are, columns, by number, what they were taken for.

    The darker, the more of a row; counts where there is room, else percent of the row.
    """
    from rich.text import Text

    count = len(found.classes)
    counted = count <= _MOST_COUNTED
    cells = [
        [_cell(number, sum(row), counted=counted) for number in row]
        for row in found.confusion.tolist()
    ]
    # Shares take three columns, so that 20 classes and their names fit 80: beside 100 is only 0.
    wide = max(2, *(len(text) for row in cells for text, _ in row)) + 1 if counted else 3
    most = _LONGEST_NAME if counted else 80 - 3 * _MOST_DRAWN - 4
    names = [f"{_short(name, most)} {at}" for at, name in enumerate(found.names)]
    left = max(len(name) for name in names)
    what = "samples" if counted else "percent of each row"
    head = Text(f"{'':<{left}} " + "".join(f"{at:>{wide}}" for at in range(count)))
    lines = [Text(f"is, and was taken for ({what}):"), head]
    for name, row in zip(names, cells, strict=True):
        line = Text(f"{name:>{left}} ")
        for text, share in row:
            line.append(f"{text:>{wide}}", _shade(share))
        lines.append(line)
    return lines


def _cell(number: int, whole: int, *, counted: bool) -> tuple[str, float]:
    share = number / whole if whole else 0.0
    if counted:
        return f"{number:,}", share
    if not number:
        return "·", share
    return ("<1" if share < 0.005 else f"{100 * share:.0f}"), share


def _shade(share: float) -> str:
    """White to blue, with letters that can be read on it."""
    if not share:
        return ""
    depth = share**0.5  # a few per cent are to be seen
    red, green, blue = (round(255 - depth * (255 - end)) for end in (8, 69, 148))
    return f"{'white' if depth > 0.6 else 'black'} on rgb({red},{green},{blue})"


def _short(name: str, most: int = _LONGEST_NAME) -> str:
    """A name that leaves room, and cannot move the cursor."""
    shown = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name
    )
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def _print_rich(lines: list[Text]) -> None:
    """Lines with colours, where stdout shows them."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        for line in lines:
            print_out(line.plain)
        return
    for line in lines:
        encoding = console.encoding or "utf-8"
        line.plain = line.plain.encode(encoding, "replace").decode(encoding)
        console.print(line)
