"""What the steps of a job work with: settings, rows, files, servers, and how many are under way."""

from dataclasses import dataclass, field

from jobs.drain import Drain
from jobs.reading import Reader
from jobs.records import Records
from jobs.servers import Servers
from jobs.settings import JobSettings
from jobs.splitters import Splitters
from jobs.store import Store
from jobs.tracing import Traces


@dataclass(kw_only=True)
class Context:
    """What one worker has."""

    settings: JobSettings
    records: Records
    store: Store
    readers: dict[str, Reader]
    traces: Traces
    splitters: Splitters
    drain: Drain = field(default_factory=Drain)
    _servers: Servers | None = None

    @property
    def servers(self) -> Servers:
        """Made in the event loop that uses them."""
        if self._servers is None:
            settings = self.settings
            key = settings.vllm_api_key.get_secret_value() if settings.vllm_api_key else None
            self._servers = Servers(settings.vllm_url, key, settings.jobs_pages, settings.jobs_page_seconds, self.drain)
        return self._servers
