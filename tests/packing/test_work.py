"""The work folder: locked, resumed, recovered, published, and nobody else's files touched."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from celeiro.errors import BusyError, ExistsError, OptionError, ResumeError, SpaceError
from celeiro.format.checksum import crc32c
from celeiro.packing.journal import Frame
from celeiro.packing.work import Work, unfinished, work_folder
from celeiro.storage import local

if TYPE_CHECKING:
    from conftest import Nursery

JOB = {"size": [2, 2], "store": "pixels"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.h5"


def commit(work: Work, *samples: bytes, side: str | None = None) -> None:
    """Commit samples as a job does, one frame in all."""
    payload, arrays, ends = {}, {}, dict(work.ends)
    for stream in ("data", side) if side else ("data",):
        payload[stream] = list(samples)
        arrays[f"{stream}_length"] = np.array([len(s) for s in samples], np.uint64)
        arrays[f"{stream}_crc"] = np.array([crc32c(s) for s in samples], np.uint32)
        ends[stream] += sum(map(len, samples))
    work.commit(Frame(len(samples), ends, arrays), payload)


def begin(out: Path, *samples: bytes, **options: Any) -> None:
    """Work that is begun and left."""
    work = Work(out, JOB, **options)
    for sample in samples:
        commit(work, sample)
    work.close()


def tasks(work: Work) -> int:
    return sum(frame.tasks for frame in work.frames())


def finish(fd: int) -> None:
    local.write_at(fd, [b"head"], 0)


def test_what_is_committed_is_there_the_next_time(out: Path) -> None:
    begin(out, b"one", b"three")
    work = Work(out, JOB)
    assert tasks(work) == 2
    assert work.read(8, 4096) == b"onethree"
    assert work.ends == {"data": 4104}
    commit(work, b"two")
    work.publish(finish)
    work.close()
    assert out.read_bytes() == b"head" + bytes(4092) + b"onethreetwo"
    assert os.listdir(out.parent) == ["out.h5"]


def test_what_is_written_but_not_committed_is_cut_off(out: Path) -> None:
    begin(out, b"one")
    with (work_folder(out) / "data").open("ab") as file:
        file.write(b"torn")
    work = Work(out, JOB)
    assert (work.folder / "data").stat().st_size == 4099
    work.publish(finish)
    assert out.read_bytes() == b"head" + bytes(4092) + b"one"


def test_side_streams_grow_beside_the_main_one(out: Path) -> None:
    work = Work(out, JOB, sides=["mask"])
    commit(work, b"abc", b"de", side="mask")
    assert work.ends == {"data": 4101, "mask": 5}
    assert work.read_side("mask")(3, 1) == b"bcd"
    work.close()
    work = Work(out, JOB, sides=["mask"])
    assert work.ends == {"data": 4101, "mask": 5}
    work.publish(finish)
    assert os.listdir(out.parent) == ["out.h5"]


@pytest.mark.parametrize("durable", range(5))
@pytest.mark.parametrize("damaged", range(4))
@pytest.mark.parametrize("how", ["flipped", "zeros", "missing"])
def test_after_a_power_cut_all_before_the_damage_is_kept_and_the_rest_done_again(
    durable: int, damaged: int, how: str, out: Path
) -> None:
    samples = [b"first", b"second", b"third", b"fourth"]
    work = Work(out, JOB, sides=["mask"])
    for number, sample in enumerate(samples):
        if number == durable:
            work.sync()
        commit(work, sample, side="mask")
    if durable == 4:
        work.sync()
    work.close()
    stream = work_folder(out) / ("mask.side" if damaged % 2 else "data")
    data = bytearray(stream.read_bytes())
    start = len(data) - len(b"".join(samples[damaged:]))
    if how == "missing":
        del data[start + 1 :]
    else:
        data[start + 1] = data[start + 1] ^ 1 if how == "flipped" else 0
    stream.write_bytes(data)
    work = Work(out, JOB, sides=["mask"])
    # A mark of durability is believed, as long as the streams are long enough for it.
    believed = damaged < durable and how != "missing"
    assert tasks(work) == (4 if believed else damaged)
    for sample in samples[tasks(work) :]:
        commit(work, sample, side="mask")
    if not believed:
        assert work.read(100, 4096) == work.read_side("mask")(100, 0) == b"".join(samples)
    work.close()


def test_a_mark_of_durability_follows_the_syncing_of_all_it_speaks_of(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(out, JOB, sides=["mask"])
    commit(work, b"one", side="mask")
    synced: list[Any] = []
    monkeypatch.setattr(local, "sync_data", lambda fd: synced.append(os.fstat(fd).st_ino))
    monkeypatch.setattr(local, "sync_folder", synced.append)
    monkeypatch.setattr(work.journal, "append", lambda frame: synced.append(frame.durable))
    work.sync()
    inodes = [(work.folder / name).stat().st_ino for name in ("data", "mask.side", "journal")]
    assert synced == [*inodes, work.folder, True]
    work.close()


def test_the_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_the_rest_goes(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(out, JOB)
    commit(work, b"one")
    happened: list[Any] = []

    def watch(owner: Any, name: str, told: Any) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            result = original(*args, **options)
            happened.append(told(*args))
            return result

        monkeypatch.setattr(owner, name, call)

    watch(local, "sync_data", lambda fd: "data synced" if out.exists() is False else "late")
    watch(os, "link", lambda *_: "named")
    watch(local, "sync_folder", lambda path: f"{path.name} synced")
    watch(os, "unlink", lambda path: os.path.basename(path))
    work.publish(lambda fd: happened.append("written"))
    assert happened[:5] == ["written", "data synced", "named", "data", f"{out.parent.name} synced"]
    assert happened[-2:] == ["lock", f"{out.parent.name} synced"]


def test_every_ten_seconds_all_is_made_durable(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("celeiro.packing.work.time.monotonic", lambda: now)
    work = Work(out, JOB)
    marks = []
    for now in (5.0, 9.0, 11.0, 12.0, 30.0):  # noqa: B007
        work.sync_now_and_then()
        marks.append(sum(frame.durable for frame in work.journal.frames()))
    assert marks == [0, 0, 1, 1, 2]
    work.close()


def test_another_job_is_refused_and_told_what_differs(out: Path) -> None:
    begin(out, b"one")
    other = {"size": [3, 3], "store": "pixels", "new": 1}
    with pytest.raises(ResumeError) as caught:
        Work(out, other)
    assert "size was [2, 2], is [3, 3]" in str(caught.value)
    assert "new was None, is 1" in str(caught.value)
    assert "store" not in str(caught.value)
    assert "--fresh" in str(caught.value)
    work = Work(out, other, fresh=True)
    assert tasks(work) == 0
    work.close()


def test_of_a_table_within_the_job_only_what_differs_is_told(out: Path) -> None:
    same = {"model": "resnet18", "sizes": {"height": 3}, "libraries": "x" * 100}
    begun = Work(out, {"origin": {**same, "threads": 2}})
    commit(begun, b"one")
    begun.close()
    with pytest.raises(ResumeError) as caught:
        Work(out, {"origin": {**same, "threads": 4, "sizes": {"height": 5}}})
    assert "threads was 2, is 4" in str(caught.value)
    assert "sizes was {'height': 3}, is {'height': 5}" in str(caught.value)
    assert "resnet18" not in str(caught.value)


def test_going_on_can_be_forbidden(out: Path) -> None:
    begin(out, b"one")
    with pytest.raises(ExistsError, match="unfinished work"):
        Work(out, JOB, resume=False)
    assert tasks(Work(out, JOB)) == 1


def test_unfinished_tells_what_was_begun(out: Path) -> None:
    assert unfinished(out, overwrite=False) is None
    begin(out, b"one")
    assert unfinished(out, overwrite=False)["size"] == [2, 2]
    out.write_bytes(b"mine")
    with pytest.raises(ExistsError):
        unfinished(out, overwrite=False)
    assert unfinished(out, overwrite=True)["size"] == [2, 2]
    assert (work_folder(out) / "data").exists()


def test_an_existing_output_is_refused_in_the_words_of_python_too(out: Path) -> None:
    out.write_bytes(b"mine")
    for kind in (ExistsError, ValueError, FileExistsError):
        with pytest.raises(kind, match=r"out\.h5 already exists.*--overwrite"):
            Work(out, JOB)
    assert os.listdir(out.parent) == ["out.h5"]


def test_a_link_to_nowhere_is_an_existing_output(out: Path) -> None:
    out.symlink_to("nowhere")
    with pytest.raises(ExistsError):
        Work(out, JOB)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_no_output(overwrite: bool, out: Path) -> None:
    out.mkdir()
    with pytest.raises(ExistsError, match="is a folder"):
        Work(out, JOB, overwrite=overwrite)
    assert os.listdir(out.parent) == ["out.h5"]


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="does not exist"):
        Work(tmp_path / "missing" / "out.h5", JOB)
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="does not exist"):
        Work(tmp_path / "file" / "out.h5", JOB)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("name", ["mkdir", "open"])
def test_a_folder_that_cannot_be_written_is_told(
    name: str, code: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code), str(out))

    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(OptionError, match=rf"cannot be written \({os.strerror(code)}\)"):
        Work(out, JOB)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_read_only_target_is_told_to_an_ordinary_user(out: Path, nursery: Nursery) -> None:
    end = nursery.run(
        """
        import os
        from pathlib import Path
        from celeiro.packing.work import Work
        os.chdir(folder)
        os.chmod(".", 0o555)
        os.setuid(65534)
        Work(Path("out.h5"), {})
        """,
        folder=out.parent,
    )
    assert end.error == "OptionError"
    assert "Permission denied" in end.message
    out.parent.chmod(0o755)


def test_a_file_in_the_place_of_the_work_folder_is_told_and_stays(out: Path) -> None:
    work_folder(out).write_text("mine")
    with pytest.raises(ExistsError, match="is a file"):
        Work(out, JOB)
    assert work_folder(out).read_text() == "mine"


@pytest.mark.parametrize(
    "name", ["data", "journal", "notes.json", "job.json", "lock", "data.claim"]
)
def test_files_of_our_names_that_are_not_ours_are_never_touched(name: str, out: Path) -> None:
    folder = work_folder(out)
    folder.mkdir()
    (folder / name).write_text('{"mine": 1}')
    for options in ({}, {"fresh": True}, {"overwrite": True}, {"resume": False}):
        with pytest.raises(ExistsError, match=rf"holds '{name}', and not by celeiro"):
            Work(out, JOB, **options)
    out.touch()
    with pytest.raises(ExistsError):
        Work(out, JOB)
    assert (folder / name).read_text() == '{"mine": 1}'
    assert os.listdir(folder) == [name]


def test_other_files_in_the_work_folder_are_never_deleted(
    out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = work_folder(out)
    folder.mkdir()
    mine = ["thesis.new", "photo.side", "notes.txt", "boxes.side"]
    for name in mine:
        (folder / name).write_text("mine")
    (folder / "sub").mkdir()
    begin(out, b"one", sides=["mask"])
    work = Work(out, JOB, fresh=True)
    work.publish(finish)
    work.close()
    assert sorted(os.listdir(folder)) == sorted([*mine, "sub"])
    assert all((folder / name).read_text() == "mine" for name in mine)
    assert "did not make" in caplog.text


def test_work_on_which_nothing_was_done_leaves_nothing(out: Path) -> None:
    Work(out, JOB, sides=["mask"]).close()
    assert os.listdir(out.parent) == []


def test_starting_anew_removes_the_streams_of_the_job_before(out: Path) -> None:
    work = Work(out, JOB, sides=["mask", "boxes"])
    work.commit(Frame(1, dict(work.ends), {}), {})
    work.close()
    assert len(os.listdir(work.folder)) == 6
    work = Work(out, JOB, fresh=True)
    assert sorted(os.listdir(work.folder)) == ["data", "job.json", "journal", "lock"]
    work.close()


def test_discarding_leaves_nothing_and_lets_go(out: Path) -> None:
    work = Work(out, JOB)
    work.keep("names", ["a"])
    commit(work, b"one")
    work.discard()
    assert os.listdir(out.parent) == []
    Work(out, JOB).close()


def test_notes_are_kept_with_the_work(out: Path) -> None:
    work = Work(out, JOB)
    assert work.kept("names") is None
    work.keep("names", ["a"])
    work.keep("other", 1)
    commit(work, b"one")
    work.close()
    work = Work(out, JOB)
    assert (work.kept("names"), work.kept("other")) == (["a"], 1)
    work.publish(finish)
    assert os.listdir(out.parent) == ["out.h5"]


def test_a_second_process_is_refused_while_the_first_lives(out: Path, nursery: Nursery) -> None:
    work = Work(out, JOB)
    code = "from pathlib import Path\nfrom celeiro.packing.work import Work\nWork(Path(out), {})"
    end = nursery.run(code, out=out)
    assert end.error == "BusyError"
    assert "Wait for it, or stop it" in end.message
    commit(work, b"one")
    work.close()
    assert nursery.run(code, out=out).error == "ResumeError"


def test_a_process_that_was_killed_holds_no_lock(out: Path, nursery: Nursery) -> None:
    code = """
    from pathlib import Path
    from celeiro.packing.work import Work
    Work(Path(out), {"size": [2, 2], "store": "pixels"})
    kill()
    """
    assert nursery.run(code, out=out).killed
    Work(out, JOB).close()


def test_one_that_waits_in_the_wings_while_another_publishes_does_not_overwrite(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = local.Lock.acquire

    def late(lock: local.Lock) -> Any:
        out.write_bytes(b"theirs")  # between looking and locking
        return acquire(lock)

    monkeypatch.setattr(local.Lock, "acquire", late)
    with pytest.raises(ExistsError):
        Work(out, JOB)
    assert out.read_bytes() == b"theirs"
    assert os.listdir(out.parent) == ["out.h5"]


def test_a_folder_that_its_last_user_just_removed_is_made_again(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir, times = Path.mkdir, 0

    def mkdir_and_gone(path: Path, *args: Any) -> None:
        nonlocal times
        times += 1
        mkdir(path, *args)
        if times == 1:
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", mkdir_and_gone)
    Work(out, JOB).close()
    assert times == 2


def test_overwriting_keeps_the_old_file_until_the_new_one_is_whole(
    out: Path, nursery: Nursery
) -> None:
    out.write_bytes(b"old")
    begin(out, b"one", overwrite=True)
    code = """
    import os
    from pathlib import Path
    from celeiro.packing.work import Work
    work = Work(Path(out), {"size": [2, 2], "store": "pixels"}, overwrite=True)
    before_call(number)
    work.publish(lambda fd: os.pwritev(fd, [b"head"], 0))
    """
    states = []
    for number in range(20):
        end = nursery.run(code, out=out, number=number)
        states.append(out.read_bytes())
        if not end.killed:
            break
        begin(out, overwrite=True)
        work = Work(out, JOB, overwrite=True)
        commit(work, b"one") if not tasks(work) else None
        work.close()
    new = b"head" + bytes(4092) + b"one"
    assert set(states) == {b"old", new}
    assert states == sorted(states, key=lambda state: state == new)


def test_publishing_fails_if_the_name_was_taken_meanwhile_and_can_be_tried_again(
    out: Path,
) -> None:
    work = Work(out, JOB)
    commit(work, b"one")
    out.write_bytes(b"theirs")
    with pytest.raises(ExistsError, match="appeared"):
        work.publish(finish)
    assert out.read_bytes() == b"theirs"
    out.unlink()
    work.publish(finish)
    assert out.read_bytes().endswith(b"one")
    assert os.listdir(out.parent) == ["out.h5"]


@pytest.mark.parametrize("where", ["data", "journal", "sync", "notes", "finish", "begin"])
def test_a_full_disk_is_told_and_what_was_committed_is_kept(
    where: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(out, b"one")

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "begin":
        monkeypatch.setattr(os, "ftruncate", full)
        with pytest.raises(SpaceError, match="disk of .* is full"):
            Work(out, JOB)
        monkeypatch.undo()
    work = Work(out, JOB)
    patch = {"journal": (work.journal, "append"), "sync": (local, "sync_data")}
    if where != "begin":
        monkeypatch.setattr(*patch.get(where, (local, "write_at")), full)
        monkeypatch.setattr("celeiro.packing.work._write_json", full)
        calls = {"sync": work.sync, "notes": lambda: work.keep("a", 1)}
        calls |= {"finish": lambda: work.publish(finish)}
        with pytest.raises(SpaceError, match=r"disk of .* is full.* make room"):
            calls.get(where, lambda: commit(work, b"two"))()
        monkeypatch.undo()
    assert tasks(work) == 1
    commit(work, b"three")
    work.publish(finish)
    assert out.read_bytes().endswith(b"onethree")


def test_other_errors_of_the_disk_are_not_called_full(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(out, JOB)
    monkeypatch.setattr(local, "write_at", lambda *_: (_ for _ in ()).throw(OSError(5, "EIO")))
    with pytest.raises(OSError, match="EIO") as caught:
        commit(work, b"one")
    assert not isinstance(caught.value, SpaceError)
    work.close()


def test_where_there_are_no_hard_links_a_kill_leaves_no_name_that_blocks(
    out: Path, nursery: Nursery
) -> None:
    code = """
    import errno, os
    from pathlib import Path
    from celeiro.packing.work import Work
    def link(*_, **__):
        raise OSError(errno.ENOTSUP if not os.path.exists(out) else errno.EEXIST, "no links")
    os.link = link
    made = before_call(number)
    os.link = link
    work = Work(Path(out), {"size": [2, 2], "store": "pixels"})
    work.publish(lambda fd: os.pwritev(fd, [b"head"], 0))
    result = made
    """
    whole = b"head" + bytes(4092) + b"one"
    for number in range(40):
        if out.exists():
            out.unlink()
        begin(out, b"one")
        end = nursery.run(code, out=out, number=number)
        assert end.error is None, end.message
        if not end.killed:
            break
        if out.exists() and out.read_bytes() == whole and not (work_folder(out) / "data").exists():
            with pytest.raises(ExistsError):  # finished but for the cleaning up
                Work(out, JOB)
        else:
            assert nursery.run(code, out=out, number=-1).error is None, number
        assert out.read_bytes() == whole
        assert os.listdir(out.parent) == ["out.h5"], number
    assert 10 < number < 39


def test_an_empty_file_of_somebody_else_is_no_claim_of_ours(out: Path) -> None:
    begin(out, b"one")
    out.touch()
    with pytest.raises(ExistsError):
        Work(out, JOB)


def test_a_folder_from_before_with_other_work_is_ours_by_its_mark(out: Path) -> None:
    begin(out, b"one")
    found = json.loads((work_folder(out) / "job.json").read_text())
    assert found == {**JOB, "celeiro_job": 1, "sides": []}


def test_two_in_one_process_exclude_each_other_too(out: Path) -> None:
    work = Work(out, JOB)
    with pytest.raises(BusyError):
        Work(out, JOB)
    work.close()
    work.close()
