"""The parameters of an image as AUTOMATIC1111 writes them. Galleries and prompt tools read this text from the file."""

import json
from typing import Any

SAMPLER = "Automatic"  # the model determines it; readers require the field


def of(row: Any) -> str:
    """The text for a completed generation, or for a request."""
    facts = {
        "Steps": row.steps,
        "Sampler": SAMPLER,
        "CFG scale": f"{row.guidance:g}",
        **({} if row.seed is None else {"Seed": row.seed}),
        "Size": f"{row.width}x{row.height}",
        "Model": row.model,
    }
    negative = f"\nNegative prompt: {row.negative_prompt}" if row.negative_prompt else ""
    return f"{row.prompt}{negative}\n" + ", ".join(f"{name}: {_quoted(str(fact))}" for name, fact in facts.items())


def _quoted(fact: str) -> str:
    """As JSON if it contains what separates facts."""
    return json.dumps(fact, ensure_ascii=False) if set(fact) & set(",:\n") else fact
