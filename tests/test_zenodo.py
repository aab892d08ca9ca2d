"""Fetching a record, against a server on this machine that answers as Zenodo does.

The answers have the shape that zenodo-rdm's own serialiser gives them
(site/zenodo_rdm/legacy/serializers/schemas/zenodojson.py on GitHub).
"""

import errno
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import quote

import pooch
import pytest

from temlib.errors import DownloadError
from temlib.zenodo import fetch

DOI = "10.5281/zenodo.7024737"
RECORD = "/api/records/7024737"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append(self.path)
        status, body, promised = server.answers.get(
            self.path, (404, b'{"status": 404, "message": "The persistent identifier does not exist."}', None)
        )
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if promised is None else promised))
        self.end_headers()
        self.wfile.write(body)
        if promised is not None:
            self.wfile.flush()
            server.stalled.wait(server.stall_s)  # then the connection closes in the middle of the file

    def log_message(self, *arguments):
        pass


@pytest.fixture
def zenodo(monkeypatch):
    """A server; `publish(files)` gives it a record and `answers` what it says to each address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)  # between two attempts at a file
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.answers, server.asked, server.stalled, server.stall_s = {}, [], threading.Event(), 0
    root = f"http://127.0.0.1:{server.server_port}"

    def publish(files, **changed):
        entries = []
        for number, (key, content) in enumerate(files.items()):
            path = f"{RECORD}/files/{quote(key)}/content"
            server.answers[path] = (200, content, None)
            entries.append(
                {
                    "id": f"00000000-0000-0000-0000-{number:012d}",
                    "key": key,
                    "size": len(content),
                    "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
                    "links": {"self": root + path},
                }
                | changed
            )
        record = {"id": 7024737, "recid": "7024737", "doi": DOI, "title": "a record", "files": entries}
        server.answers[RECORD] = (200, json.dumps(record).encode(), None)

    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield SimpleNamespace(
        base_url=f"{root}/api", publish=publish, answers=server.answers, asked=server.asked, server=server
    )
    server.stalled.set()
    server.shutdown()
    server.server_close()
    thread.join()


def content_address(key):
    return f"{RECORD}/files/{quote(key)}/content"


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []


def zip_of(members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def tar_of(members, mode="w:gz"):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def tar_link(name, target, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def zip_link(name, target):
    member = zipfile.ZipInfo(name)
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(member, target)
    return packed.getvalue()


def test_the_files_of_a_record_arrive_with_their_bytes_and_their_names(zenodo, tmp_path):
    files = {"Ni 25 kx #1.tif": bytes(range(256)) * 9, "notes.txt": b"read me"}
    zenodo.publish(files)
    paths = fetch(tmp_path / "zenodo", doi=DOI, base_url=zenodo.base_url, progress=False)
    assert {path.name: path.read_bytes() for path in paths} == files
    assert everything_in(tmp_path / "zenodo") == sorted(files)


def test_a_finished_file_is_not_fetched_again_and_a_changed_one_is(zenodo, tmp_path):
    zenodo.publish({"0000.tif": b"HDE", "0001.tif": b"LDE"})
    fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    (tmp_path / "0001.tif").write_bytes(b"LD")  # as an editor or a bad disk leaves it
    zenodo.asked.clear()
    fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert zenodo.asked == [RECORD, content_address("0001.tif")]
    assert (tmp_path / "0001.tif").read_bytes() == b"LDE"


def test_a_progress_bar_names_the_file_on_stderr(zenodo, tmp_path, capsys):
    zenodo.publish({"0000.tif": b"x" * 4096})
    fetch(tmp_path, base_url=zenodo.base_url, progress=True)
    shown = capsys.readouterr()
    assert "0000.tif" in shown.err and "4.10k/4.10k" in shown.err  # 4096 bytes, in thousands
    assert shown.out == ""


def test_without_progress_nothing_is_printed(zenodo, tmp_path, capsys):
    zenodo.publish({"0000.tif": b"x" * 4096})
    fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"])
def test_an_archive_is_unpacked_into_a_folder_of_its_name(suffix, zenodo, tmp_path):
    members = {"train/0000.tif": b"HDE", "train/0001.tif": b"LDE"}
    if suffix == "zip":
        packed = zip_of(members)
    else:
        mode = {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}[suffix]
        packed = tar_of([(tarfile.TarInfo(name), content) for name, content in members.items()], mode)
    zenodo.publish({f"Ni.{suffix}": packed})
    assert fetch(tmp_path, base_url=zenodo.base_url, progress=False) == [tmp_path / "Ni"]
    unpacked = {path: (tmp_path / "Ni" / path).read_bytes() for path in members}
    assert unpacked == members
    assert not (tmp_path / ".partial").exists()


def test_what_an_archive_of_another_version_became_is_replaced(zenodo, tmp_path):
    zenodo.publish({"Ni.zip": zip_of({"0000.tif": b"first", "old.tif": b"gone"})})
    fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    zenodo.publish({"Ni.zip": zip_of({"0000.tif": b"second"})})
    fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert everything_in(tmp_path / "Ni") == ["0000.tif"] and (tmp_path / "Ni" / "0000.tif").read_bytes() == b"second"


def test_two_archives_of_one_stem_do_not_share_a_folder(zenodo, tmp_path):
    zenodo.publish({"Ni.zip": zip_of({"a.tif": b"1"}), "Ni.tar": tar_of([(tarfile.TarInfo("b.tif"), b"2")], "w")})
    paths = fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert [path.name for path in paths] == ["Ni.zip_unpacked", "Ni.tar_unpacked"]
    assert [everything_in(path) for path in paths] == [["a.tif"], ["b.tif"]]


ESCAPES = {
    "parent.zip": zip_of({"fine.tif": b"1", "../outside.tif": b"2"}),
    "deep_parent.zip": zip_of({"a/../../outside.tif": b"2"}),
    "backslash.zip": zip_of({"..\\outside.tif": b"2"}),
    "absolute.zip": zip_of({"/outside.tif": b"2"}),
    "drive.zip": zip_of({"C:\\outside.tif": b"2"}),
    "link.zip": zip_link("inside", "/etc"),
    "parent.tar": tar_of([(tarfile.TarInfo("../outside.tif"), b"2")]),
    "absolute.tar": tar_of([(tarfile.TarInfo("/outside.tif"), b"2")]),
    "symlink.tar": tar_of([(tar_link("inside", ".."), b""), (tarfile.TarInfo("inside/outside.tif"), b"2")]),
    "hardlink.tar": tar_of([(tar_link("inside", "../outside.tif", tarfile.LNKTYPE), b"")]),
    "device.tar": tar_of([(tar_link("inside", "", tarfile.FIFOTYPE), b"")]),
}


@pytest.mark.parametrize("name", ESCAPES)
def test_an_archive_that_reaches_outside_its_folder_is_refused_and_nothing_of_it_is_unpacked(name, zenodo, tmp_path):
    zenodo.publish({name: ESCAPES[name]})
    with pytest.raises(DownloadError, match="only files and folders inside its own folder"):
        fetch(tmp_path / "in", base_url=zenodo.base_url, progress=False)
    assert everything_in(tmp_path) == ["in", f"in/{name}"]


@pytest.mark.parametrize("key", ["../outside.tif", "/outside.tif", "a/../../outside.tif", "C:\\outside.tif", ""])
def test_a_record_whose_file_name_reaches_outside_the_folder_is_refused(key, zenodo, tmp_path):
    zenodo.publish({"0000.tif": b"1"}, key=key)
    with pytest.raises(DownloadError, match="file name"):
        fetch(tmp_path / "in", base_url=zenodo.base_url, progress=False)
    assert everything_in(tmp_path) == []


def test_a_truncated_download_is_told_and_leaves_nothing_that_looks_whole(zenodo, tmp_path):
    zenodo.publish({"0000.tif": b"whole", "Ni.zip": zip_of({"a.tif": b"1" * 5000})})
    status, body, _ = zenodo.answers[content_address("Ni.zip")]
    zenodo.answers[content_address("Ni.zip")] = (status, body[:2000], len(body))
    with pytest.raises(DownloadError, match=r"Ni\.zip did not arrive whole .* run the same command again"):
        fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert everything_in(tmp_path) == ["0000.tif"]
    assert zenodo.asked.count(content_address("Ni.zip")) == 3  # the first attempt and two more

    zenodo.answers[content_address("Ni.zip")] = (200, body, None)  # the network is better tomorrow
    zenodo.asked.clear()
    fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert zenodo.asked == [RECORD, content_address("Ni.zip")]
    assert (tmp_path / "Ni" / "a.tif").read_bytes() == b"1" * 5000


def test_a_connection_that_fails_once_is_tried_again(zenodo, tmp_path):
    zenodo.publish({"0000.tif": b"whole"})
    good = zenodo.answers[content_address("0000.tif")]
    zenodo.answers[content_address("0000.tif")] = (503, b"busy", None)

    def recover(seconds):
        zenodo.answers[content_address("0000.tif")] = good

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pooch.core.time.sleep", recover)
        fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert (tmp_path / "0000.tif").read_bytes() == b"whole"


def test_other_bytes_than_the_checksum_promises_are_thrown_away(zenodo, tmp_path):
    zenodo.publish({"0000.tif": b"as deposited"})
    zenodo.answers[content_address("0000.tif")] = (200, b"as a proxy had", None)
    with pytest.raises(DownloadError, match=r"0000\.tif arrived, but not with the checksum .*md5:[0-9a-f]{32}"):
        fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert everything_in(tmp_path) == []


def test_a_record_that_does_not_exist_is_told_with_its_number(zenodo, tmp_path):
    with pytest.raises(DownloadError, match=r"no record 7024737 \(HTTP 404 .*check the DOI"):
        fetch(tmp_path / "zenodo", base_url=zenodo.base_url, progress=False)
    assert not (tmp_path / "zenodo").exists()


def test_a_file_that_the_server_refuses_is_told_with_the_status(zenodo, tmp_path):
    zenodo.publish({"0000.tif": b"1"})
    zenodo.answers[content_address("0000.tif")] = (403, b"", None)
    with pytest.raises(DownloadError, match=r"0000\.tif did not arrive whole \(HTTP 403\)"):
        fetch(tmp_path, base_url=zenodo.base_url, progress=False)


def test_a_server_that_cannot_be_reached_leads_to_the_download_by_hand(zenodo, tmp_path):
    zenodo.server.socket.close()  # the port is known, and nobody answers there any more
    with pytest.raises(DownloadError) as caught:
        fetch(tmp_path / "zenodo", base_url=zenodo.base_url, progress=False)
    sentence = str(caught.value)
    assert "ConnectionError" in sentence and "check the network" in sentence
    assert f"by hand from https://doi.org/{DOI} into {tmp_path / 'zenodo'}" in sentence


def test_too_little_disk_is_told_before_anything_is_fetched(zenodo, tmp_path):
    zenodo.publish({"Ni.zip": b"small"}, size=10**18)  # an exabyte
    with pytest.raises(DownloadError, match=r"are free in .*2000000000\.000 GB are needed"):  # archive and content
        fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert zenodo.asked == [RECORD]


def test_what_a_killed_call_left_is_removed_before_the_disk_is_looked_at(zenodo, tmp_path):
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "tmp0abc").write_bytes(b"half a file")
    zenodo.publish({"Ni.zip": b"small"}, size=10**18)
    with pytest.raises(DownloadError, match="GB are needed"):
        fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert everything_in(tmp_path) == []


def test_what_is_there_already_needs_no_disk(zenodo, tmp_path, monkeypatch):
    zenodo.publish({"0000.tif": b"HDE", "Ni.zip": zip_of({"a.tif": b"1"})})
    first = fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    monkeypatch.setattr("temlib.zenodo.shutil.disk_usage", lambda folder: SimpleNamespace(free=0))
    assert fetch(tmp_path, base_url=zenodo.base_url, progress=False) == first


def test_a_disk_that_fills_up_on_the_way_is_told(zenodo, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    zenodo.publish({"Ni.zip": zip_of({"a.tif": b"1"})})
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extract", full)
        with pytest.raises(DownloadError, match=r"Ni\.zip could not be unpacked \(no space left on the disk\)"):
            fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert everything_in(tmp_path) == ["Ni.zip"]

    (tmp_path / "Ni.zip").unlink()
    ask = pooch.HTTPDownloader.__call__
    monkeypatch.setattr(
        pooch.HTTPDownloader,
        "__call__",
        lambda self, url, *rest: full() if "content" in url else ask(self, url, *rest),
    )
    with pytest.raises(DownloadError, match=r"Ni\.zip did not arrive whole \(no space left on the disk\)"):
        fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>maintenance</html>",
        b"[]",
        b'{"id": 7024737}',
        b'{"files": [{"filename": "a.tif", "filesize": 3}]}',
        b'{"files": {"enabled": true}}',
        b'{"files": null}',
        b"",
    ],
    ids=["html", "list", "no files", "old keys", "native", "null", "empty"],
)
def test_an_answer_that_is_not_zenodos_is_told_without_a_traceback(answer, zenodo, tmp_path):
    zenodo.answers[RECORD] = (200, answer, None)
    with pytest.raises(DownloadError, match="no list of files as Zenodo's API gives it"):
        fetch(tmp_path, base_url=zenodo.base_url, progress=False)


@pytest.mark.parametrize("changed", [{"size": -1}, {"size": "5"}, {"checksum": "5d41"}, {"checksum": None}])
def test_a_file_entry_that_cannot_be_checked_is_refused(changed, zenodo, tmp_path):
    zenodo.publish({"0000.tif": b"1"}, **changed)
    with pytest.raises(DownloadError, match="no list of files as Zenodo's API gives it"):
        fetch(tmp_path, base_url=zenodo.base_url, progress=False)


def test_a_record_without_open_files_is_told(zenodo, tmp_path):
    zenodo.publish({})
    with pytest.raises(DownloadError, match="lists no file that may be downloaded"):
        fetch(tmp_path, base_url=zenodo.base_url, progress=False)


def test_a_doi_of_another_repository_is_refused(tmp_path):
    with pytest.raises(DownloadError, match="is no Zenodo DOI"):
        fetch(tmp_path, doi="10.1017/S1431927621013799", progress=False)


def test_a_folder_that_is_a_file_is_told(zenodo, tmp_path):
    zenodo.publish({"0000.tif": b"1"})
    (tmp_path / "zenodo").write_text("in the way")
    with pytest.raises(DownloadError, match="cannot be used"):
        fetch(tmp_path / "zenodo", base_url=zenodo.base_url, progress=False)


@pytest.mark.parametrize("name", ["Ni.zip", "Ni.tar.gz", "Ni.tar.xz"])
def test_a_damaged_archive_is_told_and_leaves_no_folder(name, zenodo, tmp_path):
    zenodo.publish({name: b"PK\x03\x04 deposited like that"})
    with pytest.raises(DownloadError, match="could not be unpacked"):
        fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert everything_in(tmp_path) == [name]


def test_interrupted_unpacking_leaves_no_folder_and_the_next_call_finishes_it(zenodo, tmp_path, monkeypatch):
    extract = zipfile.ZipFile.extract

    def cut_off(archive, member, folder):
        if member.filename == "b.tif":
            raise KeyboardInterrupt
        return extract(archive, member, folder)

    zenodo.publish({"Ni.zip": zip_of({"a.tif": b"1", "b.tif": b"2"})})
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extract", cut_off)
        with pytest.raises(KeyboardInterrupt):
            fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert everything_in(tmp_path) == ["Ni.zip"]
    fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert everything_in(tmp_path / "Ni") == ["a.tif", "b.tif"]
    assert zenodo.asked.count(content_address("Ni.zip")) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9 on Windows")
def test_a_download_killed_in_the_middle_leaves_nothing_that_looks_whole_and_the_next_call_cleans_up(zenodo, tmp_path):
    zenodo.publish({"0000.tif": b"x" * 100_000})
    good = zenodo.answers[content_address("0000.tif")]
    zenodo.answers[content_address("0000.tif")] = (200, b"x" * 50_000, 100_000)
    zenodo.server.stall_s = 60
    call = f"from temlib.zenodo import fetch; fetch({str(tmp_path)!r}, base_url={zenodo.base_url!r})"
    process = subprocess.Popen([sys.executable, "-c", call], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".partial/*")) and time.monotonic() < deadline:
        threading.Event().wait(0.02)  # time.sleep is silenced here
    process.kill()
    process.wait()
    assert [name.split("/")[0] for name in everything_in(tmp_path)] == [".partial", ".partial"]

    zenodo.answers[content_address("0000.tif")] = good
    fetch(tmp_path, base_url=zenodo.base_url, progress=False)
    assert everything_in(tmp_path) == ["0000.tif"]
