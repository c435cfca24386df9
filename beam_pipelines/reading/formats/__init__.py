"""What the pipeline reads: files of any of these formats, cut into work units, and a unit read record by record.

Nothing goes missing without a word: what cannot be read is a Failure in its place.
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import hashlib
import importlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from beam_pipelines.reading.formats import files, tfds, tfrecord
from beam_pipelines.reading.formats.unit import DAMAGE, Columns, Damaged, Part, Place, Plan, Record, Unit
from tb_deepexplain.errors import InputError
from tb_deepexplain.storage import at_once

if TYPE_CHECKING:  # comes with pyarrow, which --help does without
    from tb_deepexplain.store.records import Failure

__all__ = [
    "FORMATS",
    "Columns",
    "File",
    "Format",
    "Plan",
    "Record",
    "Unit",
    "find_files",
    "number_labels",
    "plan",
    "read",
]


@dataclasses.dataclass(frozen=True)
class Format:
    """A row of the table. Its module has the functions that `unit` describes."""

    id: str
    holds: str
    suffixes: tuple[str, ...]
    starts: tuple[bytes, ...] = ()  # by which a file of another suffix is known
    gzip: bool = False
    columnar: bool = False  # `read` takes columns

    @property
    def module(self) -> Any:
        return importlib.import_module(f"{__name__}.{self.id}")


FORMATS: Mapping[str, Format] = {
    row.id: row
    for row in (
        # Without a suffix known by the checksum in its first header.
        Format("tfrecord", "tf.Example protos", (".tfrecord", ".tfrecords", ".tfrec"), gzip=True),
        Format("parquet", "a row an example", (".parquet", ".pq"), (b"PAR1",), columnar=True),
        Format("csv", "a header, then a record an example", (".csv", ".tsv"), gzip=True),
        Format("jsonl", "a JSON object a line", (".jsonl", ".ndjson"), (b"{",), gzip=True),
        Format(
            "pictures",
            "a folder of pictures; sub-folders are labels",
            (".png", ".jpg", ".jpeg", ".gif", ".bmp"),
            (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8"),
        ),
        Format("arrays", "NumPy arrays named like the inputs", (".npz", ".npy"), (b"PK\x03\x04", b"\x93NUMPY")),
        # Known by the files that such a directory has.
        Format("tfds", "a prepared TensorFlow Datasets directory", ()),
    )
}


_GZIP, _START = b"\x1f\x8b", 12  # bytes that tell what a file is


class File(NamedTuple):
    """A file of the input."""

    path: str
    root: str  # the folder that its pattern begins with
    format: str
    stamp: str = ""  # size and time


class _Source(NamedTuple):
    """What is planned as one: a file, or the pictures below a folder."""

    format: Format
    place: Place
    name: str  # in example ids


class _Planned(NamedTuple):
    """What came of it."""

    place: Place
    parts: list[Part]
    broken: str | None
    digest: bytes


def find_files(patterns: Sequence[str], format: str | None = None) -> list[File]:  # noqa: A002  as on the command line
    """The files that match, sorted, each with its format; InputError where a pattern matches none.

    A folder stands for the pictures in it or, without any, for its files of a known format.
    """
    found: dict[str, File] = {}
    for pattern in patterns:
        matched = list(_match(pattern, format))
        if not matched:
            raise InputError(
                f"--input {pattern}: no file matches; give a path, a folder, or a quoted pattern such as 'data/*.tfrecord'"
            )
        found |= {file.path: file for file in matched}
    return [found[path] for path in sorted(found)]


def plan(found: Sequence[File], unit_size: int) -> Plan:
    """Units of `unit_size` records, or what comes near it where a format cannot be entered anywhere.

    InputError if there is damage and not one record that can be read.
    """
    digest, units, damage = hashlib.sha256(), [], ""
    sources = list(_sources(found))
    remote = any(files.is_remote(source.place.path) for source in sources)
    do = functools.partial(_plan_source, unit_size=unit_size)
    all_planned = at_once(do, sources) if remote else map(do, sources)
    for number, ((row, _, name), planned) in enumerate(zip(sources, all_planned, strict=True)):
        place, parts, broken, content = planned
        digest.update(f"{row.id}\0{name}\0".encode() + content)
        if broken:
            digest.update(broken.encode())
            damage = damage or f"{place.path}: {broken}"
        for i, part in enumerate(parts):
            units.append(
                Unit(
                    f"{number:05d}-{i:05d}",
                    place.path,
                    name,
                    part.offset,
                    part.first,
                    part.count,
                    place.compressed,
                    broken if i == len(parts) - 1 else None,
                    row.id,
                    part.names,
                )
            )
    if damage and not any(unit.count for unit in units):
        raise InputError(damage)
    formats = tuple(sorted({file.format for file in found}))
    return Plan(tuple(units), digest.hexdigest()[:16], formats, _labels(found, sources))


def read(unit: Unit, columns: Columns | None = None) -> Iterator[Record | Failure]:
    """The unit's records in order, with a Failure in the place of each that is damaged or out of reach.

    Of what is stored by columns only these are read, if given and all that are needed are there.
    """
    row, end, number = FORMATS[unit.format], unit.first + unit.count, unit.first
    reason = "it has become shorter"
    try:
        for record in row.module.read(unit, columns) if row.columnar else row.module.read(unit):
            position = unit.position(number)
            number += 1
            yield _failure(position, record.reason) if isinstance(record, Damaged) else Record(position, record)
    except DAMAGE as error:
        reason = str(error)
    except OSError as error:
        raise InputError(f"cannot read {unit.path}: {error.strerror or error}") from error
    for missed in range(number, end):
        yield _failure(unit.position(missed), f"cannot be reached: {reason}")
    if unit.broken:
        yield _failure(unit.position(end), unit.broken)


def number_labels(found: Plan, given: tuple[str, ...] | None) -> tuple[tuple[str, ...] | None, dict[str, int]]:
    """The class names, and the class number that each name in the source stands for.

    Names that were given come first: the source's own are looked up among them, or, where they are quite different
    ones (WordNet ids for folders, say), taken in their order.
    """
    own = found.labels
    names = given or own
    if own is not None and given is not None and not set(own) <= set(given):
        if set(own) & set(given) or len(own) != len(given):
            odd = ", ".join([name for name in own if name not in given][:5])
            raise InputError(
                f"--labels names {len(given)} classes, but the source has {len(own)}, and {odd} is not among --labels; "
                "name every class, or leave the source's labels out with --label_feature none"
            )
        names = own
    return given or own, {name: number for number, name in enumerate(names or ())}


def _match(pattern: str, wanted: str | None) -> Iterator[File]:
    folder = os.path.expanduser(pattern)
    if wanted in (None, "tfds") and not glob.has_magic(pattern) and tfds.is_dataset(folder):
        yield from (File(path, folder, "tfds") for path in tfds.shards(folder))
        return
    if wanted == "tfds":
        raise InputError(f"--input {pattern}: no prepared dataset (a folder with dataset_info.json and features.json)")
    found = files.find(pattern)
    walked = [file for file in found if file.walked]
    chosen = {file.path for file in _choose(walked, wanted)}
    for path, root, stamp, is_walked in found:
        if not is_walked or path in chosen:
            yield File(path, root, wanted or _format_of(path), stamp)


def _choose(walked: Sequence[files.Found], wanted: str | None) -> Sequence[files.Found]:
    """What a folder stands for."""
    visible = [
        file for file in walked if "/_" not in file.path[len(file.root) :]
    ]  # Spark's _SUCCESS, Delta's _delta_log
    if wanted != "pictures" and wanted is not None:
        return [file for file in visible if _has_suffix(file.path, FORMATS[wanted].suffixes)] or visible
    pictures = [file for file in walked if _has_suffix(file.path, FORMATS["pictures"].suffixes)]
    known = tuple(suffix for row in FORMATS.values() for suffix in row.suffixes)
    return pictures or ([] if wanted else [file for file in visible if _has_suffix(file.path, known)] or visible)


def _format_of(path: str) -> str:
    """By suffix, else by content."""
    for row in FORMATS.values():
        if _has_suffix(path, row.suffixes):
            return row.id
    start = _start(path)
    if not start or tfrecord.begins(start):
        return "tfrecord"
    if start.startswith(_GZIP):
        try:
            start = _start(path, compressed=True)
        except DAMAGE:
            start = b""
        if tfrecord.begins(start):
            return "tfrecord"
    for row in FORMATS.values():
        if row.starts and start.removeprefix(b"\xef\xbb\xbf").startswith(row.starts):
            return row.id
    raise InputError(
        f"{path} is of no format known by its suffix or content; name one with --format: {', '.join(FORMATS)}"
    )


def _has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    return path.lower().removesuffix(".gz").endswith(suffixes)


def _start(path: str, compressed: bool = False) -> bytes:
    try:
        with files.opened(path, compressed) as file:
            return file.read(_START)
    except DAMAGE:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _sources(found: Sequence[File]) -> Iterator[_Source]:
    """In the order of the files; pictures of one root together."""
    folders: dict[str, list[File]] = {}
    for file in found:
        if file.format == "pictures":
            folders.setdefault(file.root, []).append(file)
    paths = [file.path for file in found if file.format != "pictures"]
    names = dict(zip(paths, _short(paths), strict=True))
    prefixes = dict(
        zip(folders, [""] if len(folders) == 1 else (f"{name}/" for name in _short(list(folders))), strict=True)
    )
    for path, root, id_, _ in found:
        row = FORMATS[id_]
        if id_ != "pictures":
            yield _Source(row, Place(path), names[path])
        elif pictures := folders.pop(root, None):
            below = tuple(file.path[len(root) :].lstrip("/") for file in pictures)
            yield _Source(row, Place(root, False, below, tuple(file.stamp for file in pictures)), prefixes[root])


def _plan_source(source: _Source, unit_size: int) -> _Planned:
    row, place, _ = source
    if row.gzip:
        start = _start(place.path)
        # A plain TFRecord may begin with the same two bytes: its first record's length.
        place = place._replace(compressed=start.startswith(_GZIP) and not tfrecord.begins(start))
    digest, parts, broken = hashlib.sha256(), list[Part](), None
    try:
        for part in row.module.plan(place, unit_size, digest):
            parts.append(part)
    except DAMAGE as error:
        parts, broken = parts or [Part()], str(error)
    except OSError as error:
        raise InputError(f"cannot read {place.path}: {error.strerror or error}") from error
    return _Planned(place, parts, broken, digest.digest())


def _labels(found: Sequence[File], sources: Iterable[_Source]) -> tuple[str, ...] | None:
    """The class names of folders of pictures, sorted, or of a prepared dataset."""
    from beam_pipelines.reading.formats import pictures

    classes: set[str] = set()
    for row, place, _ in sources:
        if row.id == "pictures":
            classes.update(pictures.classes(place))
    if classes:
        return tuple(sorted(classes))
    named = {tfds.labels(root) for root in {file.root for file in found if file.format == "tfds"}}
    return named.pop() if len(named) == 1 else None


def _short(paths: Sequence[str]) -> list[str]:
    """A short name for each file: without directory and suffix, as long as that tells them apart."""
    short = [_strip(os.path.basename(path)) for path in paths]
    if len(set(short)) == len(short):
        return short
    whole = [(path if files.is_remote(path) else os.path.abspath(path)).split("/") for path in paths]
    common = next((i for i, parts in enumerate(zip(*whole, strict=False)) if len(set(parts)) > 1), 0)
    return ["/".join(parts[common:]) for parts in whole]


def _strip(name: str) -> str:
    name = name.removesuffix(".gz") or name
    for suffix in (suffix for row in FORMATS.values() for suffix in row.suffixes):
        name = name.removesuffix(suffix) or name
    return name


def _failure(position: str, message: str) -> Failure:
    from tb_deepexplain.store.records import Failure

    return Failure(position, "read", "DataLoss", message)
