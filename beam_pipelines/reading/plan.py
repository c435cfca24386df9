"""Divides the input's files into work units."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from beam_pipelines.reading import files
from beam_pipelines.reading.format_interface import DAMAGE, RecordRange, Source, describe_damage
from beam_pipelines.reading.formats import FORMATS
from beam_pipelines.reading.input_files import GZIP, InputFile, read_start, strip_suffix
from beam_pipelines.reading.work_unit import Plan, WorkUnit
from tb_deepexplain.errors import DeepExplainError, InputError
from tb_deepexplain.storage import map_concurrently


class _PlannedSource(NamedTuple):
    source: Source
    ranges: list[RecordRange]
    damage: str | None
    digest: bytes  # of the content


def make_plan(input_files: Sequence[InputFile], unit_size: int, named: Sequence[str] = ()) -> Plan:
    """Work units of `unit_size` records, or about as many where the format cannot be read from any record on.

    `named`: the features that the user names; they tell which arrays of a file are read.

    Raises InputError if a file is damaged and no record of the whole input can be read.
    """
    sources = [source._replace(named=tuple(named)) for source in _sources(input_files)]
    remote = any(files.is_remote(source.path) for source in sources)
    plan_source = functools.partial(_plan_source, unit_size=unit_size)
    all_planned = map_concurrently(plan_source, sources) if remote else map(plan_source, sources)
    digest, units, first_damage = hashlib.sha256(), list[WorkUnit](), ""
    for number, (source, ranges, damage, content) in enumerate(all_planned):
        digest.update(f"{source.format.id}\0{source.id_prefix}\0".encode() + content)
        if damage:
            digest.update(damage.encode())
            first_damage = first_damage or f"{source.path}: {damage}"
        for i, part in enumerate(ranges):
            units.append(
                WorkUnit(
                    id=f"{number:05d}-{i:05d}",
                    format=source.format.id,
                    path=source.path,
                    id_prefix=source.id_prefix,
                    first=part.first,
                    count=part.count,
                    offset=part.offset,
                    compressed=source.compressed,
                    pictures=part.pictures,
                    arrays=part.arrays,
                    damage=damage if i == len(ranges) - 1 else None,
                )
            )
    if first_damage and not any(unit.count for unit in units):
        raise InputError(first_damage)
    formats = tuple(sorted({file.format for file in input_files}))
    return Plan(tuple(units), digest.hexdigest()[:16], formats, _class_names(sources))


def _sources(input_files: Sequence[InputFile]) -> Iterator[Source]:
    """The sources in the order of the files. The pictures below one folder are one source."""
    folders: dict[str, list[InputFile]] = {}
    for file in input_files:
        if FORMATS[file.format].folders:
            folders.setdefault(file.root, []).append(file)
    paths = [file.path for file in input_files if not FORMATS[file.format].folders]
    names = dict(zip(paths, _short_names(paths), strict=True))
    prefixes = [""] if len(folders) == 1 else [f"{name}/" for name in _short_names(list(folders))]
    folder_prefixes = dict(zip(folders, prefixes, strict=True))
    for file in input_files:
        row = FORMATS[file.format]
        if not row.folders:
            yield Source(row, file.path, names[file.path])
        elif members := folders.pop(file.root, None):
            pictures = tuple(member.path[len(file.root) :].lstrip("/") for member in members)
            stamps = tuple(member.stamp for member in members)
            yield Source(row, file.root, folder_prefixes[file.root], pictures=pictures, stamps=stamps)


def _plan_source(source: Source, unit_size: int) -> _PlannedSource:
    if source.format.gzip:
        start = read_start(source.path)
        # A plain TFRecord may begin with gzip's two bytes: they are part of its first record's length.
        source = source._replace(compressed=start.startswith(GZIP) and not source.format.matches(start))
    digest, ranges, damage = hashlib.sha256(), list[RecordRange](), None
    try:
        for part in source.format.module.plan(source, unit_size, digest):
            ranges.append(part)
    except DAMAGE as error:
        ranges, damage = ranges or [RecordRange()], str(error)
    except DeepExplainError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {source.path}: {error.strerror or error}") from error
    except Exception as error:  # a library that decodes a damaged file may raise anything
        ranges, damage = ranges or [RecordRange()], describe_damage(error)
    return _PlannedSource(source, ranges, damage, digest.digest())


def _class_names(sources: Sequence[Source]) -> tuple[str, ...] | None:
    """The class names that the data define, by the first format that has some."""
    for row in FORMATS.values():
        members = [source for source in sources if source.format is row]
        if members and hasattr(row.module, "class_names") and (names := row.module.class_names(members)):
            return tuple(names)
    return None


def _short_names(paths: Sequence[str]) -> list[str]:
    """A short name for each path: without folder and suffix if these names differ, else from where the paths differ."""
    short = [strip_suffix(os.path.basename(path)) for path in paths]
    if len(set(short)) == len(short):
        return short
    whole = [(path if files.is_remote(path) else os.path.abspath(path)).split("/") for path in paths]
    common = next((i for i, parts in enumerate(zip(*whole, strict=False)) if len(set(parts)) > 1), 0)
    return ["/".join(parts[common:]) for parts in whole]
