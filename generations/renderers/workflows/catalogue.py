"""The installed workflows: the built-in ones and the operator's own, which take precedence."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from generations.renderers.base import DEFAULT_MODEL, MAX_MODEL_NAME
from generations.renderers.workflows.graph import WorkflowError
from generations.renderers.workflows.workflow import Workflow, parse

BUILT_IN = Path(__file__).parent
MAX_FILE_BYTES = 1024 * 1024  # bytes
SETTINGS_SUFFIX = ".lockngen.json"  # portraits.lockngen.json: settings of portraits.json that survive a new export
NAME = re.compile(rf"[\w.-]{{1,{MAX_MODEL_NAME}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Catalogue:
    workflows: dict[str, Workflow] = field(default_factory=dict)
    errors: list[WorkflowError] = field(default_factory=list)
    """Errors of the files that can't be used."""
    warnings: list[str] = field(default_factory=list)
    """Probable mistakes in the operator's own files."""

    def beginning_with(self, name: str) -> "Catalogue":
        """The same with this workflow as the first, if it exists."""
        first = {name: self.workflows[name]} if name in self.workflows else {}
        return Catalogue({**first, **self.workflows}, self.errors, self.warnings)


def read(*folders: Path) -> Catalogue:
    """The workflows of the folders; later folders take precedence."""
    catalogue = Catalogue()
    for folder in (BUILT_IN, *folders):
        for path in sorted(folder.glob("*.json")):
            if path.name.endswith(SETTINGS_SUFFIX):
                continue
            try:
                workflow = catalogue.workflows[path.stem] = _workflow(path)
            except WorkflowError as error:
                catalogue.workflows.pop(path.stem, None)  # a built-in one never replaces an operator's file
                catalogue.errors.append(WorkflowError(f"{path}: {error}"))
            else:
                if folder != BUILT_IN:
                    catalogue.warnings.extend(f"{path}: {warning}" for warning in workflow.warnings)
    return catalogue


def _workflow(path: Path) -> Workflow:
    if not NAME.fullmatch(path.stem) or path.stem == DEFAULT_MODEL:
        raise WorkflowError(
            f"its name must have up to {MAX_MODEL_NAME} letters, digits and - . _ and must not be default"
        )
    settings = path.with_name(f"{path.stem}{SETTINGS_SUFFIX}")
    return parse(path.stem, _text(path), _text(settings) if settings.exists() else None)


def _text(path: Path) -> str:
    """The text of a file in any encoding that JSON may have, with or without a byte order mark."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise WorkflowError(f"{path.name} is larger than {MAX_FILE_BYTES} bytes")
        content = path.read_bytes()
        return content.decode(json.detect_encoding(content))
    except (OSError, UnicodeDecodeError) as error:
        raise WorkflowError(f"it can't be read: {error}") from None
