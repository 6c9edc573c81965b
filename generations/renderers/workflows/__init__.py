"""Graphs of ComfyUI as data: the files in this folder and in the operator's own."""

from generations.renderers.workflows.catalogue import Catalogue, read
from generations.renderers.workflows.graph import WorkflowError
from generations.renderers.workflows.workflow import Workflow

__all__ = ["Catalogue", "Workflow", "WorkflowError", "read"]
