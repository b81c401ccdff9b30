"""Options that several commands have, each told once: the same words mean the same everywhere.

What only one command has stands there, and what it means by a name otherwise, such as `--labels`.
"""

from __future__ import annotations

from typing import Annotated

import typer

# What is read, and what is made

File = Annotated[str, typer.Argument(metavar="FILE", help="Any HDF5 file; it is only read.")]
Out = Annotated[str, typer.Argument(metavar="OUT", help="The HDF5 file to make.")]
SamplesKey = Annotated[str | None, typer.Option(metavar="NAME", help="Data set of the samples.")]
FromKey = Annotated[
    str | None, typer.Option(metavar="NAME", help="Data set of the samples to read.")
]
Only = Annotated[str | None, typer.Option(metavar="SPLIT", help="Only the samples of one split.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace OUT, once the new file is whole.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Throw away what an interrupted run made.")]

# How samples stand in the new file

Resize = Annotated[
    str,
    typer.Option(
        metavar="stretch|crop|pad|fit",
        help="stretch (aspect ratio is lost); crop (cover, keep the centre); pad (whole picture, "
        "zeros around); fit (pad, never enlarged).",
    ),
]
Bgr = Annotated[bool, typer.Option("--bgr", help="Blue first, as OpenCV reads.")]
Quality = Annotated[int, typer.Option(metavar="1..100", help="Of JPEGs that are made here.")]
Subsampling = Annotated[
    str, typer.Option(metavar="444|422|420", help="Of JPEGs that are made here.")
]
Compressor = Annotated[str, typer.Option(metavar="zstd|gzip", help="Of --store lossless.")]
MaxSide = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="With --store encoded: pictures with a longer side are shrunk to it, and become "
        "JPEGs.",
    ),
]
Shuffle = Annotated[bool, typer.Option("--shuffle", help="Store in a random order.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Of --split and --shuffle.")]
Check = Annotated[
    str,
    typer.Option(
        metavar="header|decode",
        help="decode: see that each picture decodes, and take mean and deviation of what is "
        "stored.",
    ),
]
MaxPixels = Annotated[int, typer.Option(metavar="N", help="Larger pictures are refused undecoded.")]

# How the work is done, and what is told of it

OnDamage = Annotated[
    str, typer.Option(metavar="raise|skip", help="Stop at the first damaged sample, or go on.")
]
Workers = Annotated[int | None, typer.Option(metavar="N", help="Threads. [default: one a core]")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
NoProgress = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
ReportAsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
