from generations.images import files, retention
from generations.models import Generation


def purge(size: int = 2) -> retention.Tally:
    """Run a purge with batches of this size, and return its last tally."""
    return [retention.Tally(), *retention.purge(size)][-1]


def left() -> set[Generation]:
    return set(Generation.all_objects.all())


def owned_by(*generations: Generation) -> set[str]:
    """The paths of their files."""
    return {path for generation in generations for path in files.paths(generation)}
