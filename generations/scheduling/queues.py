"""The names of the queues, and which rows have a job.

A worker fetches jobs from the queues of its renderers' models.
"""

from datetime import timedelta

from django.db.models import Exists, OuterRef, Q, TextField
from django.db.models.functions import Cast, Now
from procrastinate.contrib.django.models import ProcrastinateJob

from generations.renderers.base import DEFAULT_MODEL, MAX_MODEL_NAME

RENDER_TASK = "generations.render"
DELIVERY_TASK = "generations.deliver_webhook"
MAINTENANCE = "maintenance"
WEBHOOKS = "webhooks"
RENDER = "render"  # for the default model
STRANDED_AFTER = timedelta(minutes=1)  # a younger row may not have its job yet


def of_model(model: str) -> str:
    is_own = model != DEFAULT_MODEL and len(model) <= MAX_MODEL_NAME
    return f"{RENDER}-{model}" if is_own else RENDER


def is_stranded() -> Q:
    """The condition that a row has no job, for instance because it was removed by hand."""
    lock = Cast(OuterRef("pk"), TextField())
    jobs = ProcrastinateJob.objects.filter(queueing_lock=lock, status__in=("todo", "doing"))
    return ~Q(Exists(jobs)) & Q(created_at__lt=Now() - STRANDED_AFTER)
