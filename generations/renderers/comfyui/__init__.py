"""The renderer that drives a ComfyUI server."""

from generations.renderers.comfyui.renderer import ComfyUIRenderer

__all__ = ["ComfyUIRenderer"]
