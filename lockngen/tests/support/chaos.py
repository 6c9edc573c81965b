"""Repeated faults of random workers."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass, field

from lockngen.tests.support.stack import Program


@dataclass
class Chaos:
    """Freezes one worker for `frozen_for` at a time, and kills others meanwhile."""

    workers: list[Program]
    frozen_for: float  # seconds
    random_numbers: random.Random = field(default_factory=lambda: random.Random(1))
    frozen: Program | None = None

    def strike(self) -> None:
        worker = self.random_numbers.choice([worker for worker in self.workers if worker is not self.frozen])
        if self.frozen is None:
            worker.send_signal(signal.SIGSTOP)
            self.frozen, self.frozen_at = worker, time.monotonic()
            return
        worker.send_signal(signal.SIGKILL)
        if time.monotonic() >= self.frozen_at + self.frozen_for:
            self.resume()

    def resume(self) -> None:
        self.frozen.send_signal(signal.SIGCONT)
        self.frozen = None

    def end(self) -> None:
        """Resume the frozen worker once its time is over."""
        if self.frozen:
            time.sleep(max(0, self.frozen_at + self.frozen_for - time.monotonic()))
            self.resume()
