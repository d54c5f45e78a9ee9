"""A job's document -> a searchable PDF."""

import tempfile
from pathlib import Path

from exports.searchable.make import SearchableError, searchable_pdf
from exports.searchable.texts import pages_of
from jobs.document import Document
from jobs.failures import of_input
from jobs.job import Job
from jobs.splitting import source_of
from jobs.store import Store


def searchable(job: Job, document: Document, store: Store) -> bytes:
    """Raises Failure, StoreError."""
    pages = list(pages_of(document.pages, document.blocks, document.markdown))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        with store.open(source_of(job.id)) as file, source.open("wb") as copy:
            while piece := file.read(2**20):
                copy.write(piece)
        try:
            return searchable_pdf(source, pages)
        except SearchableError as error:
            raise of_input("pdf", f"{error}; leave pdf out of `formats`") from error
