"""Counters of one server, in the text format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.process_collector import ProcessCollector

from mmt import __version__

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Attributes are the metrics; the process's memory, processor time and open files are among the output."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("mmt", "Version of mmt.", registry=registry).info({"version": __version__})
        self.requests = Counter(
            "mmt_requests", "Answered requests, by path and status.", ("path", "status"), registry=registry
        )
        self.seconds = Histogram(
            "mmt_request_seconds", "From a request to its answer.", ("path",), registry=registry, buckets=_SECONDS
        )
        self.sentences = Counter("mmt_sentences", "Translated sentences.", ("model",), registry=registry)
        self.images = Counter(
            "mmt_images", "Images: read, known already, or refused.", ("model", "result"), registry=registry
        )
        self.batch_sizes = Histogram(
            "mmt_batch_sentences",
            "Sentences translated at a time.",
            ("model",),
            registry=registry,
            buckets=_SIZES,
        )
        self.waiting = Gauge(
            "mmt_waiting_sentences", "Accepted and not yet translated.", ("model",), registry=registry
        )

    def text(self) -> bytes:
        return bytes(generate_latest(self._registry))
