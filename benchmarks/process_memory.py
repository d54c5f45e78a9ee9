"""Memory of a server's processes, resident and on GPUs."""

import shutil
import subprocess
import threading
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

import psutil

SAMPLING_SECONDS = 0.2
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class PeakMemory:
    """Memory of processes while this context is open, in MiB: the peak of resident memory, and GPU memory at the end.

    Pages that processes share count once for each process. GPU memory is queried only once: the query takes as long as
    a request, and servers do not release GPU memory.
    """

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
        self.peak_rss_mb: float | None = None
        self.gpu_mb: float | None = None
        self._processes = processes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._processes and shutil.which("nvidia-smi"):
            query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
            output = subprocess.run(query, capture_output=True, text=True, check=False).stdout
            self.gpu_mb = gpu_memory(output, [process.pid for process in self._processes])

    def _watch(self) -> None:
        while self._processes:
            used = resident_bytes(self._processes)
            self.peak_rss_mb = round(max(self.peak_rss_mb or 0.0, used / 2**20), 1)
            if self._ended.wait(SAMPLING_SECONDS):
                return


class ServerMemory:
    """Resident memory of the server at a URL: the listening processes, their parent, and all their descendants."""

    def __init__(self, url: str) -> None:
        found = {process.pid: process for process in server_processes(url)}
        self._roots = [process for process in found.values() if process.ppid() not in found]

    def mb(self) -> float:
        """MiB; 0 for a server on another machine."""
        return sum(resident_bytes([root, *root.children(recursive=True)]) for root in self._roots) / 2**20


def resident_bytes(processes: Sequence[psutil.Process]) -> int:
    """The sum over the processes that still exist."""
    used = 0
    for process in processes:
        try:
            used += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return used


def gpu_memory(output: str, pids: Collection[int]) -> float | None:
    """MiB of the processes `pids`, from nvidia-smi's lines `pid, MiB`; None if it lists none of them.

    In a container nvidia-smi may list no process, or list pids without sizes.
    """
    lines = [line.split(",") for line in output.splitlines() if line.count(",") == 1]
    wanted = set(map(str, pids))
    sizes = [int(size) for pid, size in lines if pid.strip() in wanted and size.strip().isdigit()]
    return float(sum(sizes)) if sizes else None


def server_processes(url: str) -> list[psutil.Process]:
    """The processes listening at the address, with their descendants; none on another machine or without permission."""
    address = urlsplit(url)
    if address.hostname not in LOCAL_HOSTS:
        return []
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            ports = [one.laddr.port for one in process.net_connections() if one.status == psutil.CONN_LISTEN]
            if (address.port or 80) in ports:
                found |= {one.pid: one for one in [process, *process.children(recursive=True)]}
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return list(found.values())
