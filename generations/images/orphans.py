from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from itertools import chain, islice
from operator import or_
from uuid import UUID

from django.core.files.storage import default_storage
from django.db.models import Q
from django.utils import timezone

from generations.images import files as image_files
from generations.models import Generation
from lockngen.database import retry
from lockngen.health import PROBES
from lockngen.storage.filesystem import PARTIAL, walk

BATCH = 1000  # files per query
MIN_AGE = timedelta(days=1)  # a younger file may belong to a generation that is about to be completed


@dataclass(frozen=True)
class Orphan:
    path: str
    bytes: int
    modified_at: datetime

    @property
    def is_leftover(self) -> bool:
        """Whether a killed process left the file, which never was the image of a generation."""
        return self.path.startswith(f"{PROBES}/") or _name(self.path).startswith(PARTIAL)

    def remove(self) -> None:
        default_storage.delete(self.path)


@dataclass(frozen=True)
class Batch:
    files: int
    orphans: list[Orphan]


def find(size: int = BATCH) -> Iterator[Batch]:
    """Examine the whole storage, `size` files at a time. The caller may remove orphans while iterating."""
    files = chain.from_iterable(walk(default_storage, folder) for folder in (image_files.FOLDER, PROBES))
    while paths := list(islice(files, size)):
        claimed = _claimed({path: _id(path) for path in paths})
        found = [_examine(path) for path in paths if path not in claimed]
        newest = timezone.now() - MIN_AGE
        yield Batch(len(paths), [orphan for orphan in found if orphan and orphan.modified_at < newest])


@retry.idempotent
def _claimed(ids: dict[str, UUID | None]) -> set[str]:
    """The paths that a generation refers to, or may refer to soon."""
    # A file's name begins with the id of its generation. Other files, added by hand, are searched by path.
    others = [path for path, id in ids.items() if not id]
    named = reduce(or_, (Q(**{f"{column}__in": others}) for column in image_files.COLUMNS))
    rows = Generation.all_objects.filter(Q(pk__in=[id for id in ids.values() if id]) | named)
    claimed, unfinished = set(), set()
    for generation in rows.only("status", *image_files.COLUMNS):
        claimed.update(image_files.paths(generation))
        if generation.is_unfinished:
            unfinished.add(generation.pk)
    # An attempt at an unfinished generation may be writing the file.
    return claimed.union(path for path, id in ids.items() if id in unfinished)


def _examine(path: str) -> Orphan | None:
    try:
        return Orphan(path, default_storage.size(path), default_storage.get_modified_time(path))
    except FileNotFoundError:  # it was renamed after writing, or removed
        return None


def _id(path: str) -> UUID | None:
    """The generation's id in the name of a file; the attempt or the kind of file follows it."""
    try:
        return UUID(_name(path)[:36])
    except ValueError:
        return None


def _name(path: str) -> str:
    return path.rpartition("/")[2]
