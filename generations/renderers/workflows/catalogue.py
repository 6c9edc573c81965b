"""The workflows there are: those that come along and the operator's own, which win where the names are the same."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from generations.renderers.base import DEFAULT_MODEL, LONGEST_MODEL_NAME
from generations.renderers.workflows.workflow import Workflow, WorkflowError, parse

SHIPPED = Path(__file__).parent
LONGEST_FILE = 1024 * 1024  # bytes
NAME = re.compile(rf"[\w.-]{{1,{LONGEST_MODEL_NAME}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Catalogue:
    workflows: dict[str, Workflow] = field(default_factory=dict)
    errors: list[WorkflowError] = field(default_factory=list)
    """What is wrong with the files that could not be read."""

    def beginning_with(self, name: str) -> "Catalogue":
        """The same with this workflow as the first, where there is one of that name."""
        first = {name: self.workflows[name]} if name in self.workflows else {}
        return Catalogue({**first, **self.workflows}, self.errors)


def read(*folders: Path) -> Catalogue:
    """The workflows of the folders; a later folder's win."""
    catalogue = Catalogue()
    for folder in (SHIPPED, *folders):
        if not folder.is_dir():
            catalogue.errors.append(WorkflowError(f"{folder}: there is no such folder"))
        for path in sorted(folder.glob("*.json")):
            try:
                catalogue.workflows[path.stem] = _workflow(path)
            except WorkflowError as error:
                catalogue.errors.append(WorkflowError(f"{path}: {error}"))
    return catalogue


def _workflow(path: Path) -> Workflow:
    if not NAME.fullmatch(path.stem) or path.stem == DEFAULT_MODEL:
        raise WorkflowError(
            f"its name, the model's, takes up to {LONGEST_MODEL_NAME} letters, digits and - . _ and is not default"
        )
    try:
        if path.stat().st_size > LONGEST_FILE:
            raise WorkflowError(f"it is larger than {LONGEST_FILE} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WorkflowError(f"it can't be read: {error}") from None
    return parse(path.stem, text)
