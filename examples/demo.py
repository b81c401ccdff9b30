"""The main job on pictures made here: pack, be killed midway, go on, slice, read, feed, resume.

python examples/demo.py [FOLDER]        (default: demo/)
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import h5py
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

PICTURES = 1000


def main(folder: Path) -> None:
    """Tell the story, step by step."""
    photos, out = folder / "photos", folder / "photos.h5"
    folder.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    shutil.rmtree(f"{out}.partial", ignore_errors=True)  # what an earlier demo may have left
    make_photos(photos)
    source_bytes = sum(p.stat().st_size for p in photos.iterdir())
    print(f"\n1. {PICTURES:,} photographs in {photos}, {source_bytes / 1e6:.1f} MB\n")

    command = [sys.executable, "-m", "celeiro", "pack", str(photos), str(out)]
    command += ["--size", "256", "--store", "jpeg", "--split", "train=0.9,val=0.1"]
    print(f"2. $ {spoken(command)}\n   … and it is killed (SIGKILL) midway:")
    kill_midway(command, out)
    print(f"   {out} does not exist; {out}.partial holds what is done\n")

    print(f"3. the same command goes on:\n   $ {spoken(command)}")
    subprocess.run(command, check=True)

    print("\n4. plain h5py:")
    import celeiro  # and HDF5's JPEG filter, 32019, is registered

    with h5py.File(out) as db:
        images, labels = db["imagens"], db["labels"]
        print(f"   db['imagens']          {images.shape} {images.dtype}")
        print(f"   db['imagens'][0].mean  {images[0].mean():.1f}")
        print(f"   db['labels'][:8]       {labels[:8]}  of {db['label_names'][:]}")
        print(f"   db['splits/train']     {db['splits/train'].shape[0]:,} rows")
        raw = images.size

    print("\n5. celeiro.open, which needs no HDF5 to read a sample:")
    with celeiro.open(out) as ds:
        image, label = ds[0]
        print(f"   ds[0]                  {image.shape} {image.dtype}, {ds.label_names[label]!r}")
        order = np.random.default_rng(0).permutation(len(ds))
        batch = np.empty((200, *ds.shape[1:]), ds.dtype)
        wanted = order[: len(batch)]
        fast = seconds_of(lambda: ds.read(wanted, out=batch))
        with h5py.File(out) as db:
            slow = seconds_of(lambda: [db["imagens"][i] for i in wanted])
        print(
            f"   200 shuffled samples   {fast * 1e3:.0f} ms; plain h5py takes {slow * 1e3:.0f} ms"
        )
    feed(out)
    size = out.stat().st_size
    print(
        f"\n7. {size / 1e6:.1f} MB; the article's way takes {raw / 1e6:.1f} MB "
        f"({raw / size:.0f} times as much)\n"
    )
    subprocess.run([sys.executable, "-m", "celeiro", "info", str(out)], check=True)


def feed(out: Path) -> None:
    """An epoch as a network would get it, and one that is stopped and resumed."""
    import celeiro
    from celeiro.feeding.transforms import HorizontalFlip, Normalize, RandomResizedCrop, ToCHW

    steps = [RandomResizedCrop(224), HorizontalFlip(), Normalize(), ToCHW()]
    with celeiro.Loader(out, batch_size=100, seed=0, transform=steps) as loader:
        seconds = seconds_of(lambda: [None for _ in loader])
        images, _ = next(iter(loader))
        print("\n6. celeiro.Loader; celeiro.torch, .keras and .jax give their own tensors:")
        print(f"   a batch                {images.shape} {images.dtype}: crop, flip, normalise")
        print(f"   {PICTURES / seconds:<6,.0f} pictures/s      order of epoch 0: sha256 "
              f"{loader.digest(0)[:16]}…")  # fmt: skip
        loader.set_epoch(0)
        whole = [images for images, _ in loader]
        loader.set_epoch(0)
        for number, _ in enumerate(loader, 1):
            if number == 3:
                state = loader.state_dict()
                break
    with celeiro.Loader(out, batch_size=100, transform=steps) as another:
        another.load_state_dict(state)
        same = [bool((a == b).all()) for (a, _), b in zip(another, whole[3:], strict=True)]
    print(f"   stopped after 3 batches, resumed: {sum(same)} of {len(whole) - 3} are the same bits")


def make_photos(folder: Path) -> None:
    """Something like photographs: smooth light, a few shapes, the grain of a sensor."""
    if folder.is_dir() and len(list(folder.iterdir())) == PICTURES:
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        name = ("cat", "dog")[number % 2]
        light = rng.integers(30, 220, (4, 5, 3)).astype(np.uint8)
        image = cv2.resize(light, (500, 375), interpolation=cv2.INTER_CUBIC)
        for _ in range(6):
            centre = tuple(int(c) for c in rng.integers(0, 375, 2))
            color = tuple(int(c) for c in rng.integers(0, 255, 3))
            if name == "cat":
                cv2.circle(image, centre, int(rng.integers(20, 80)), color, -1, cv2.LINE_AA)
            else:
                corner = tuple(c + int(rng.integers(30, 120)) for c in centre)
                cv2.rectangle(image, centre, corner, color, -1, cv2.LINE_AA)
        grain = rng.integers(-6, 7, image.shape)
        image = np.clip(image.astype(np.int16) + grain, 0, 255).astype(np.uint8)
        cv2.imwrite(
            str(folder / f"{name}.{number // 2}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 90]
        )


def kill_midway(command: list[str], out: Path) -> None:
    """Start the packer, and kill it once it has written a third or so."""
    data = Path(f"{out}.partial") / "data"
    packer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while packer.poll() is None and not (data.exists() and data.stat().st_size > 3_000_000):
        time.sleep(0.002)
    packer.kill()
    packer.wait()
    if out.exists():
        sys.exit("the packer was done before it could be killed; remove the folder and try again")


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes the second time, when files and libraries are warm."""
    work()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def spoken(command: list[str]) -> str:
    """The command as a person types it."""
    return " ".join(["celeiro", *command[3:]])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
