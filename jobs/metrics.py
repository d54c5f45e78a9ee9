"""Prometheus metrics of jobs. What the database knows is read from it at each scrape, so every API says the same."""

import time
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.failures import Kind
from jobs.job import Status
from jobs.records import Records

KINDS: tuple[Kind, ...] = ("input", "passing", "ours")
ENDS: tuple[Status, ...] = ("done", "cancelled")
DELIVERIES: dict[tuple[str, ...], str] = {
    (kind, outcome): f"{outcome}_{kind}" for kind in ("webhook", "content") for outcome in ("delivered", "undelivered")
}
MESSAGES: dict[tuple[str, ...], str] = {(outcome,): f"nats_{outcome}" for outcome in ("completed", "failed", "refused")}
"""Names of totals by the values of a metric's labels."""


class Metrics:
    """The metrics of one API."""

    def __init__(self, records: Records) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Database(records))
        self._submitted = Counter("jobs_submitted", "Jobs that this API has accepted.", registry=self._registry)
        self._http = Counter(
            "jobs_http_requests", "HTTP requests.", ("handler", "method", "status"), registry=self._registry
        )

    def submitted(self, count: int) -> None:
        self._submitted.inc(count)

    def answered(self, handler: str, method: str, status: int) -> None:
        self._http.labels(handler, method, f"{status // 100}xx").inc()

    def text(self) -> bytes:
        """Prometheus' text format. Raises SQLAlchemyError."""
        return generate_latest(self._registry)


class _Database(Collector):
    """What all workers and APIs of a database have done, and what there is to do."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def describe(self) -> Iterable[Metric]:
        return []  # so that nothing is read before it is asked for

    def collect(self) -> Iterable[Metric]:
        counts, oldest, totals = self._records.counts(), self._records.oldest_waiting(), self._records.totals()
        for name, place, text in (
            ("jobs_active", 0, "Jobs that have not ended."),
            ("jobs_active_bytes", 1, "Bytes of their documents."),
            ("jobs_active_pages", 2, "Pages that they have left; one for a document that is not split yet."),
        ):
            gauge = GaugeMetricFamily(name, text, labels=["status"])
            for status, values in counts.items():
                gauge.add_metric([status], values[place])
            yield gauge
        age = 0.0 if oldest is None else max(0.0, time.time() - oldest)
        yield GaugeMetricFamily("jobs_oldest_waiting_seconds", "Age of the oldest job that waits.", value=age)
        yield GaugeMetricFamily("jobs_workers", "Workers with a lease.", value=self._records.workers())
        ended = CounterMetricFamily("jobs_ended", "Jobs that ended.", labels=["status", "kind"])
        for status in ENDS:
            ended.add_metric([status, ""], totals.get(status, 0))
        for kind in KINDS:
            ended.add_metric(["failed", kind], totals.get(f"failed_{kind}", 0))
        yield ended
        yield _counted("jobs_deliveries", "Jobs' ends that were told to a target, or given up.", DELIVERIES, totals)
        yield _counted("jobs_nats_messages", "Messages of the queue, by what became of them.", MESSAGES, totals)
        yield CounterMetricFamily("jobs_pages", "Pages of jobs that ended.", value=totals.get("pages", 0))


def _counted(
    name: str, text: str, counts: Mapping[tuple[str, ...], str], totals: Mapping[str, float]
) -> CounterMetricFamily:
    """A counter whose labels are `kind`, where there are two, and `outcome`."""
    labels = ["kind", "outcome"][-len(next(iter(counts))) :]
    family = CounterMetricFamily(name, text, labels=labels)
    for values, total in counts.items():
        family.add_metric(list(values), totals.get(total, 0))
    return family
