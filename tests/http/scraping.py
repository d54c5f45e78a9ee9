"""Prometheus' text format as numbers."""

import httpx
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

CHAT = "/v1/chat/completions"


class Scrape:
    """The numbers of one answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of all series with these labels."""
        return sum(s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items())


def scrape(client: TestClient | httpx.Client) -> Scrape:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return Scrape(answer.text)
