"""Payloads of notifications."""

import json

from generations.progress.reports import Report


def payload_of(id, report: Report) -> str:
    return json.dumps({"id": str(id), "attempt": report.attempt, "percent": report.percent})
