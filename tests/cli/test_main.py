"""The entry point, as a process: help, signals, pipes, terminals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import h5py
import numpy as np
import pytest

import celeiro as package

if sys.platform != "win32":
    import pty


def test_without_a_command_help_is_shown(celeiro):
    ran = celeiro()
    assert "pack" in ran.out + ran.err
    assert "info" in ran.out + ran.err


def test_the_version_is_one_line(celeiro):
    ran = celeiro("--version")
    assert (ran.code, ran.out) == (0, f"{package.__version__}\n")


@pytest.mark.parametrize("command", ["pack", "info"])
def test_help_has_an_example_on_one_line(celeiro, command):
    ran = celeiro(command, "--help")
    assert ran.code == 0
    example = ran.out.partition("Example:")[2].splitlines()[2]
    assert example.strip().startswith(f"celeiro {command} photos")
    assert ".h5" in example


def test_every_option_of_pack_says_what_it_is_for(celeiro):
    lines = celeiro("pack", "--help").out.partition("Options:")[2].splitlines()
    for before, line in zip(lines, [*lines[1:], ""], strict=True):
        if before.lstrip().startswith("--"):
            assert len(before) > 34 or line.startswith(" " * 30), before


@pytest.fixture
def slow_folder(tmp_path):
    """Pictures that take a second with one thread."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    data = cv2.imencode(".png", noise)[1].tobytes()
    for number in range(100):
        (folder / f"cat.{number:03}.png").write_bytes(data)
    return folder


def waited_for(path, size, process):
    """Wait until a file has so many bytes; nothing else tells how far another process is."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.stat().st_size >= size:
            return
    pytest.fail(f"{path} did not grow: {process.communicate()}")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_stops_within_a_second_and_the_same_command_goes_on(start, slow_folder, tmp_path):
    words = ["pack", slow_folder, "o.h5", "--size", "256", "--store", "lossless", "--workers", "1"]
    running = start(*words)
    waited_for(tmp_path / "o.h5.partial" / "journal", 1, running)
    running.send_signal(signal.SIGINT)
    asked = time.monotonic()
    _, err = running.communicate(timeout=30)
    assert time.monotonic() - asked < 2  # one, and a busy machine
    assert running.returncode == 130
    assert not (tmp_path / "o.h5").exists()
    message = err.decode().splitlines()[-1]
    assert message.startswith("celeiro: stopped. ")
    assert message.endswith(f"kept in {tmp_path / 'o.h5.partial'}; the same command goes on.")
    again = start(*words[:-2], "--json")  # any number of threads goes on
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert b"going on at picture " in err
    assert json.loads(out)["resumed"] > 0
    with h5py.File(tmp_path / "o.h5") as file:
        assert len(file["imagens"]) == 100


def test_quarantine_takes_its_folder_as_the_next_word(start, photo_folder, tmp_path):
    folder = photo_folder(3)
    (folder / "cat.2.jpg").write_bytes(b"<html>")
    ran = start("pack", folder, "o.h5", "--on-error", "quarantine", "bad/", "--size", "8")
    _, err = ran.communicate(timeout=60)
    assert ran.returncode == 0, err
    assert (tmp_path / "bad" / "cat.2.jpg").read_bytes() == b"<html>"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names")
def test_names_that_are_not_utf8_and_an_ascii_terminal_are_no_trouble(start, tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    for name in ("águia.1.jpg", "ção.2.jpg"):
        with open(folder + b"/" + name.encode(), "wb") as file:
            file.write(cv2.imencode(".jpg", np.zeros((9, 9, 3), np.uint8))[1])
    with open(folder + b"/\xe9.3.jpg", "wb"):
        pass
    words = ["pack", folder, "o.h5", "--label-pattern", r"(\d)\.jpg", "--on-error", "skip"]
    ran = start(*words, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    _, err = ran.communicate(timeout=60)
    assert ran.returncode == 0, err
    assert rb"\xe9.3.jpg: empty file" in err


def test_a_reader_that_leaves_is_no_traceback(start, photo_folder, tmp_path):
    package.pack(photo_folder(3), tmp_path / "o.h5")
    reading, writing = os.pipe()
    os.close(reading)
    ran = start("info", "o.h5", stdout=writing)
    os.close(writing)
    _, err = ran.communicate(timeout=60)
    assert b"Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="no pty")
def test_on_a_terminal_a_bar_shows_and_goes_and_the_report_stays(start, photo_folder, tmp_path):
    controller, terminal = pty.openpty()
    ran = start(
        "pack", photo_folder(40), "o.h5", "--size", "64", "--json",
        stderr=terminal, stdin=subprocess.DEVNULL, env={"TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(controller, 1 << 16)
        except OSError:  # how Linux says that the other side is closed
            break
        if not part:
            break
        shown += part
    os.close(controller)
    out, _ = ran.communicate(timeout=60)
    assert json.loads(out)["samples"] == 40
    assert b"packing" in shown
    assert b"finishing" in shown
    assert shown.rstrip().endswith(b"\x1b[2K")  # the last line is wiped
