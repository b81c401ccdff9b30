"""A process that runs Python in children of its own, and kills some of them.

Importing everything takes half a second, forking what is imported a hundredth of one. The tests'
own process cannot fork: it has threads. So this one, which has none, is started once, reads orders
and answers them, one line of JSON each:

    {"code": "result = 1 + n", "names": {"n": 1}, "kill_after": null}
    {"killed": false, "result": 2, "error": null, "message": null}

The invariant: a child ends by the end of its code or by a signal that it cannot catch.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import tempfile
from typing import Any


def obey(code: str, names: dict[str, Any], kill_after: float | None) -> dict[str, Any]:
    """Run `code` in a child, with SIGKILL for it after so many seconds, and tell its end."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        live(code, names, writer)
    os.close(writer)
    answer = b""
    while select.select([reader], [], [], kill_after)[0]:
        part = os.read(reader, 1 << 16)
        if not part:
            break
        answer += part
    else:
        os.kill(child, signal.SIGKILL)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status)
    if killed and os.WTERMSIG(status) != signal.SIGKILL:
        return {"killed": False, "result": None, "error": "died", "message": str(status)}
    return {"killed": killed, "result": None, "error": None, "message": None} | (
        json.loads(answer) if answer and not killed else {}
    )


def live(code: str, names: dict[str, Any], writer: int) -> None:
    """Be the child: run the code and tell what it left in `result`, or which error it met."""
    names = {"result": None, "kill": kill, "before_call": before_call, **names}
    answer: dict[str, Any] = {}
    try:
        exec(code, names)
        answer["result"] = names["result"]
    except BaseException as error:
        answer |= {"error": type(error).__name__, "message": str(error)}
    os.write(writer, json.dumps(answer).encode())
    os._exit(0)


def kill() -> None:
    """Die at once, as by the hand of the kernel."""
    os.kill(os.getpid(), signal.SIGKILL)


# Every call by which celeiro changes what is on the disk.
CALLS = "fdatasync fsync ftruncate link mkdir open pwritev replace rename rmdir unlink".split()


def before_call(number: int, *, torn: bool = False) -> list[str]:
    """Die before the call `number` that changes the disk (or midway, if it writes, `torn`).

    The list that is returned fills with the names of the calls as they are made.
    """
    made: list[str] = []

    def watched(name: str) -> Any:
        original = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            if len(made) == number:
                if torn and name == "pwritev":
                    data = b"".join(args[1])
                    original(args[0], [data[: len(data) // 2]], args[2])
                kill()
            made.append(name)
            return original(*args, **options)

        return call

    for name in CALLS:
        setattr(os, name, watched(name))
    return made


def warm_up() -> None:
    """Import whatever packing imports late, so that no child has to."""
    import cv2
    import imagecodecs  # noqa: F401
    import numpy as np

    import celeiro
    import celeiro.features.extract
    import celeiro.features.models.function
    import celeiro.feeding.transforms

    cv2.setNumThreads(1)  # a pool of OpenCV's would not live on in a child
    # A kill takes nothing from the kernel's cache, and waiting for the disk takes half the time.
    os.fsync = os.fdatasync = lambda fd: None
    rows = np.zeros((2, 8, 8, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        picture = os.path.join(folder, "cat.jpg")
        cv2.imwrite(picture, rows[0])
        for store in ("jpeg", "lossless"):
            celeiro.pack(rows, os.path.join(folder, store), store=store, size=4, workers=1)
            celeiro.pack(folder, os.path.join(folder, store + "2"), store=store, size=4, workers=1)


def main() -> None:
    """Obey until there are no more orders."""
    warm_up()
    gc.freeze()  # what is shared with the children stays so
    for line in sys.stdin:
        sys.stdout.write(json.dumps(obey(**json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
