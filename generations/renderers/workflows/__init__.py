"""Graphs of ComfyUI as data: a file each, here and in the operator's own folder."""

from generations.renderers.workflows.catalogue import Catalogue, read
from generations.renderers.workflows.graph import WorkflowError
from generations.renderers.workflows.workflow import Workflow

__all__ = ["Catalogue", "Workflow", "WorkflowError", "read"]
