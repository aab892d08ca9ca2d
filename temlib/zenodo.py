"""Fetch the files of a Zenodo record: whole, checked, unpacked, and nothing outside their folder.

Knows what Zenodo's API answers, and nothing of what a record holds: its frames are paired
by `fields` and read by `frames`.
"""

import errno
import io
import json
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import pooch
from tqdm import tqdm

from temlib.errors import DownloadError

RETRIES = 2  # after the first attempt at a file; pooch waits 1 s, then 2 s
ARCHIVES = tuple(suffix for _, suffixes, _ in shutil.get_unpack_formats() for suffix in suffixes)
DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # an encrypted zip
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


class RecordFile(NamedTuple):
    """One file of a record."""

    key: str  # name, with folders where the record has them
    size: int  # bytes
    checksum: str  # "md5:..."
    url: str


def fetch(folder, *, doi="10.5281/zenodo.7024737", base_url="https://zenodo.org/api", progress=True):
    """Download the files of a Zenodo record into `folder` and unpack its archives beside them.

    A file whose checksum is right is not fetched again and a folder that is unpacked is left
    alone, so the same call continues after an interruption. What is not finished lies in
    `folder/.partial`, which goes when the call ends or the next one begins.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    doi : str
        DOI of the record, `10.5281/zenodo.<number>`.
    base_url : str
        Address of the API; tests put a local server here.
    progress : bool, default True
        Draw one progress bar a file, on stderr.

    Returns
    -------
    list of Path
        In the record's order: a file, or for an archive the folder that it was unpacked into
        (`Ni.zip` into `Ni`; `Ni.zip_unpacked` where the record also has an `Ni` or `Ni.tar`).

    Raises
    ------
    DownloadError
        If the record cannot be resolved, the disk is too small, or a file does not arrive as
        the record describes it or cannot be unpacked inside its folder.
    """
    folder = Path(folder).resolve()
    advice = (
        "run the same command again (what is finished is kept), or download the files by hand from "
        f"https://doi.org/{doi} into {folder} and unpack them there."
    )
    files = _record_files(doi, base_url, advice)
    targets = _targets(folder, files)
    partial = folder / ".partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if partial.exists():  # of a call that was killed; its space counts as free below
            shutil.rmtree(partial)
        missing = [file for file in files if not _has_checksum(folder / file.key, file.checksum)]
        replaced = [file for file in missing if (folder / file.key).is_file()]  # of another version, as what it became
    except OSError as error:
        raise DownloadError(
            f"{folder} cannot be used ({error.strerror}): give a folder that can be written to."
        ) from error
    packed = [f for f in files if _is_archive(f.key) and (f in replaced or not targets[f.key].is_dir())]
    _check_space(folder, missing, packed)
    try:
        for file in missing:
            _download(file, folder, partial, progress, advice)
        for file in packed:
            _unpack(folder / file.key, targets[file.key], partial, advice)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return list(targets.values())


def _record_files(doi, base_url, advice):
    """The files of a record, as Zenodo lists them under `records/<number>` since October 2023.

    `links.self` is the address of the content there: zenodo-rdm, legacy/serializers/schemas/zenodojson.py.
    """
    number = re.search(r"10\.5281/zenodo\.(\d+)$", doi)
    if not number:
        raise DownloadError(f"{doi!r} is no Zenodo DOI: give one like 10.5281/zenodo.7024737.")
    url = f"{base_url}/records/{number[1]}"
    answer = io.BytesIO()
    try:
        pooch.HTTPDownloader()(url, answer, None)
    except OSError as error:  # every exception of requests is one
        if _http_status(error) in (404, 410):
            raise DownloadError(
                f"Zenodo has no record {number[1]} (HTTP {_http_status(error)} from {url}): check the DOI."
            ) from error
        raise DownloadError(
            f"The record could not be read from {url} ({_reason(error)}): check the network, then {advice}"
        ) from error
    try:
        listed = json.loads(answer.getvalue())["files"]
        files = [_record_file(entry) for entry in listed]
    except (ValueError, KeyError, TypeError) as error:
        raise DownloadError(
            f"The answer of {url} is no list of files as Zenodo's API gives it "
            f"({type(error).__name__}: {error}): {advice}"
        ) from error
    if not files:
        raise DownloadError(f"The record {doi} lists no file that may be downloaded: {advice}")
    return files


def _record_file(entry):
    file = RecordFile(entry["key"], entry["size"], entry["checksum"], entry["links"]["self"])
    if not isinstance(file.size, int) or file.size < 0:
        raise ValueError(f"size {file.size!r}")
    if not re.fullmatch("md5:[0-9a-f]{32}", file.checksum):
        raise ValueError(f"checksum {file.checksum!r}")
    if not PureWindowsPath(file.key).name or _escapes(file.key):
        raise ValueError(f"file name {file.key!r}")
    return file


def _targets(folder, files):
    """Where each file ends up: itself, or for an archive the folder of what it holds."""
    stems = {file.key: _stem(file.key) for file in files}
    taken = [*stems.values(), *(str(parent) for key in stems for parent in PurePosixPath(key).parents)]
    return {
        key: folder / (stem if taken.count(stem) == 1 else f"{key}_unpacked" if _is_archive(key) else key)
        for key, stem in stems.items()
    }


def _is_archive(name):
    return name.lower().endswith(ARCHIVES)


def _stem(name):
    suffix = max((s for s in ARCHIVES if name.lower().endswith(s)), key=len, default="")
    return name[: len(name) - len(suffix)] or name


def _has_checksum(path, checksum):
    return path.is_file() and pooch.file_hash(path, alg="md5") == checksum.removeprefix("md5:")


def _check_space(folder, missing, packed):
    # frames hardly compress: what an archive holds needs about as much again as the archive
    needed_gb = (sum(file.size for file in missing) + sum(file.size for file in packed)) / 1e9
    free_gb = shutil.disk_usage(folder).free / 1e9
    if needed_gb > free_gb:
        raise DownloadError(
            f"{free_gb:.3f} GB are free in {folder}, and {needed_gb:.3f} GB are needed for the files and "
            "what their archives hold: free some or give another folder, then run the same command again."
        )


def _download(file, folder, partial, progress, advice):
    cache = pooch.create(
        path=partial,
        base_url="",
        registry={file.key: file.checksum},
        urls={file.key: file.url},
        retry_if_failed=RETRIES,
    )
    pooch.get_logger().setLevel("WARNING")  # its lines and the bar would say the same twice
    bar = tqdm(desc=file.key, total=file.size, unit="B", unit_scale=True, disable=not progress)
    try:
        with bar:
            downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**20)
            arrived = cache.fetch(file.key, downloader=downloader)
        target = folder / file.key
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(arrived, target)
    except OSError as error:
        raise DownloadError(f"{file.key} did not arrive whole ({_reason(error)}): {advice}") from error
    except ValueError as error:  # pooch's word for a wrong checksum
        raise DownloadError(
            f"{file.key} arrived, but not with the checksum of the record ({file.checksum}), so it was "
            f"thrown away: {advice}"
        ) from error


def _unpack(archive, target, partial, advice):
    staging = partial / "unpacked"
    try:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as opened:
                for member in opened.infolist():
                    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the packer stored none
                    _refuse(archive, member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR))
                    opened.extract(member, staging)
        else:
            with tarfile.open(archive) as opened:
                # as an attribute, because Python before 3.11.4 has no argument filter="data"
                opened.extraction_filter = getattr(tarfile, "data_filter", None)
                for member in opened:
                    _refuse(archive, member.name, member.isfile() or member.isdir())
                    opened.extract(member, staging)
        if target.is_dir():
            target.rename(partial / "replaced")
        os.replace(staging, target)
    except DAMAGED as error:
        raise DownloadError(f"{archive.name} could not be unpacked ({_reason(error)}): {advice}") from error


def _refuse(archive, name, plain):
    if _escapes(name) or not plain:
        raise DownloadError(
            f"{archive.name} holds {name!r}, and only files and folders inside its own folder are unpacked: "
            "nothing was; look into the archive before you unpack it by hand."
        )


def _escapes(name):
    path = PureWindowsPath(name)  # knows drives, and both / and \, as every system together does
    return bool(path.anchor) or ".." in path.parts


def _http_status(error):
    return getattr(getattr(error, "response", None), "status_code", None)


def _reason(error):
    if _http_status(error):
        return f"HTTP {_http_status(error)}"
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return "no space left on the disk"
    return type(error).__name__
