"""Decoding in separate processes: what a file can do to its decoder, and that it harms nothing else."""

import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from PIL import Image

from images import decoding, heic, processes
from images.errors import DecoderEnded, DecoderUnavailable, InvalidImage
from images.loading import ImageLimits, read_images
from images.processes import DecoderProcesses
from tests.payloads import encoded

PIXELS = 50_000_000
PAGES = 64


NOISE = Image.effect_noise((300, 200), 90).convert("RGB")
IMAGE = encoded(NOISE, "PNG")
SMALL = encoded(Image.new("RGB", (9, 9)), "PNG")


def running(pool: DecoderProcesses) -> list[psutil.Process]:
    """The running processes; the pool keeps them private, since only a test wants to harm them."""
    return [psutil.Process(one._process.pid) for one in pool._all if one._process is not None]


@pytest.fixture
def pool() -> Iterator[DecoderProcesses]:
    pool = DecoderProcesses(1, 20, PIXELS, 20 * 2**20)
    pool.start()
    yield pool
    pool.close()


def stopped(process: psutil.Process) -> psutil.Process:
    """Suspend a decoder, so that it hangs as in an endless loop."""
    process.suspend()
    return process


# Replies


@pytest.mark.parametrize("format_", [*decoding.FORMATS, heic.FORMAT])
def test_an_image_is_the_same_as_decoded_in_this_process(pool: DecoderProcesses, format_: str) -> None:
    assert heic.can_read(), "scripts/setup installs pillow-heif"
    data = encoded(NOISE, format_)
    here = decoding.open_file(data, PIXELS, PAGES)
    there = pool.open_file(data, PIXELS, PAGES)
    assert isinstance(here, Image.Image)
    assert isinstance(there, Image.Image)
    assert (there.mode, there.size, there.tobytes()) == (here.mode, here.size, here.tobytes())


@pytest.mark.parametrize("size", [(1, 1), (100, 20_000), (20_000, 100), (257, 1023), (3000, 2000)])
def test_an_image_of_any_shape_is_returned_whole(pool: DecoderProcesses, size: tuple[int, int]) -> None:
    """It is sent a few rows at a time."""
    image = Image.effect_noise(size, 90).convert("RGB")
    found = pool.open_file(encoded(image, "BMP"), PIXELS, PAGES)
    assert isinstance(found, Image.Image)
    assert found.tobytes() == image.tobytes()


@pytest.mark.parametrize("format_", ["PDF", "TIFF"])
def test_pages_are_decoded_one_by_one_when_they_are_opened(pool: DecoderProcesses, format_: str) -> None:
    data = encoded(NOISE, format_, save_all=True, append_images=[NOISE.rotate(180)])
    pages = read_images(data, "param", ImageLimits(), pool)
    assert [page.page for page in pages] == [True, True]
    for number, page in enumerate(pages):
        assert page.open().tobytes() == decoding.open_page(data, number, PIXELS).tobytes()


def test_an_unreadable_file_is_refused_with_the_same_message(pool: DecoderProcesses) -> None:
    for data in (b"hello", IMAGE[:2000], b"%PDF-1.7 x"):
        refusals = []
        for decoder in (decoding, pool):
            with pytest.raises(InvalidImage) as refusal:
                read_images(data, "param", ImageLimits(), decoder)
            refusals.append((type(refusal.value), str(refusal.value), refusal.value.param))
        assert refusals[0] == refusals[1]
        assert refusals[0][0] is InvalidImage


# Decoders that hang, crash or run out of memory


def test_a_decoder_that_hangs_is_ended_in_time_and_the_next_image_is_read() -> None:
    pool = DecoderProcesses(1, 0.5, PIXELS, 2**20)
    try:
        assert pool.open_file(IMAGE, PIXELS, PAGES)
        hanging = stopped(running(pool)[0])
        with pytest.raises(DecoderEnded, match=r"takes longer than 0\.5 seconds to decode") as refusal:
            read_images(IMAGE, "messages.0.content.1.image_url.url", ImageLimits(), pool)
        assert refusal.value.param == "messages.0.content.1.image_url.url"
        assert not hanging.is_running()
        assert pool.open_file(IMAGE, PIXELS, PAGES)
    finally:
        pool.close()


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that expands to a large black square."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))

    head = struct.pack("!IIBBBBB", side, side, 8, 6, 0, 0, 0)
    rows = zlib.compressobj(9)
    body = b"".join(rows.compress(bytes(1 + 4 * side)) for _ in range(side)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not enforce RLIMIT_DATA")
def test_a_file_over_the_memory_limit_is_refused_and_the_decoder_continues() -> None:
    """Pixels are limited earlier; the memory limit covers what a format needs besides them."""
    pool = DecoderProcesses(1, 20, 1000, 1000)
    try:
        assert pool.open_file(IMAGE, PIXELS, PAGES)
        before = running(pool)
        with pytest.raises(InvalidImage, match="more memory to decode than is allowed"):
            pool.open_file(bomb(10_000), 10**9, PAGES)
        assert pool.open_file(IMAGE, PIXELS, PAGES)
        assert running(pool) == before
    finally:
        pool.close()


def test_the_largest_image_allowed_is_decoded_within_the_memory_limit() -> None:
    """In the modes that need the most memory: alpha on white, 16 bits by way of floats, and both rotated."""
    side = 3000
    pool = DecoderProcesses(1, 60, side * side, 20 * 2**20)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    files = [encoded(Image.new(mode, (side, side)), "PNG", exif=exif) for mode in ("RGBA", "LA", "I;16", "P")]
    files.append(encoded(Image.new("RGB", (side, side)), "JPEG", exif=exif, progressive=True))
    files.append(encoded(Image.new("RGBA", (side, side)), "WEBP", exif=exif, lossless=True))
    files.append(encoded(Image.new("CMYK", (side, side)), "TIFF", compression="tiff_lzw"))
    try:
        for data in files:
            found = pool.open_file(data, side * side, PAGES)
            assert isinstance(found, Image.Image)
            assert found.size == (side, side)
    finally:
        pool.close()


def test_a_killed_decoder_is_replaced_and_the_image_is_still_read(pool: DecoderProcesses) -> None:
    assert pool.open_file(IMAGE, PIXELS, PAGES)
    (killed,) = running(pool)
    killed.kill()
    assert pool.open_file(IMAGE, PIXELS, PAGES)
    assert running(pool) != [killed]


def kill_at_work(pool: DecoderProcesses, times: int) -> None:
    """Kill the decoder while it works on a file that takes about a second."""
    for _ in range(times):
        while not (found := running(pool)) or found[0].cpu_percent(0.02) < 1:
            pass
        found[0].kill()
        found[0].wait()


def test_a_request_survives_a_decoder_killed_at_work(pool: DecoderProcesses) -> None:
    """The kernel does this when memory runs out; the file is tried once more."""
    large = bomb(6000)
    pool.open_file(IMAGE, PIXELS, PAGES)
    with ThreadPoolExecutor(1) as threads:
        killing = threads.submit(kill_at_work, pool, 1)
        found = pool.open_file(large, PIXELS, PAGES)
        killing.result()
    assert isinstance(found, Image.Image)


def impostor(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[list[str]]:
    """Replace decoders by processes that answer every file with a line of Python; returns the started commands."""
    code = f"import os, socket; s = socket.socket(fileno=0); s.sendall({processes.FRAME.pack(2, 0) + b'{}'!r})\n"
    code += f"while s.recv(2**20): {answer}"
    start, started = subprocess.Popen, list[list[str]]()

    def instead(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(command)
        return start([sys.executable, "-c", code], **options)

    monkeypatch.setattr(subprocess, "Popen", instead)
    return started


def test_an_image_that_crashes_decoders_is_tried_twice_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that corrupts memory crashes like this."""
    started = impostor(monkeypatch, "os.abort()")
    pool = DecoderProcesses(1, 5, PIXELS, 2**20)
    try:
        with pytest.raises(DecoderEnded, match="the decoder crashed over it"):
            pool.open_file(IMAGE, PIXELS, PAGES)
        assert len(started) == 2
        monkeypatch.undo()
        assert pool.open_file(IMAGE, PIXELS, PAGES)
    finally:
        pool.close()


def test_many_threads_share_a_few_decoders() -> None:
    pool = DecoderProcesses(2, 20, PIXELS, 2**20)
    try:
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda _: pool.open_file(IMAGE, PIXELS, PAGES), range(40)))
        assert len(found) == 40
        assert all(isinstance(one, Image.Image) and one.size == NOISE.size for one in found)
        assert len(running(pool)) <= 2
    finally:
        pool.close()


# Malformed replies of a compromised decoder


@pytest.mark.parametrize(
    "reply",
    [
        b"\xff" * processes.FRAME.size,
        processes.FRAME.pack(5, 0) + b"hello",
        processes.FRAME.pack(2, 2**50) + b"{}",
        processes.FRAME.pack(2, 0) + b"{}",
        processes.FRAME.pack(2, 0) + b"[]",
        *(
            processes.FRAME.pack(len(text), 0) + text
            for text in (
                b'{"width": 99999999, "height": 99999999}',
                b'{"width": "x", "height": []}',
                b'{"pages": {}}',
            )
        ),
    ],
)
def test_a_malformed_reply_ends_the_decoder(reply: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    impostor(monkeypatch, f"s.sendall({reply!r})")
    pool = DecoderProcesses(1, 5, PIXELS, 2**20)
    try:
        with pytest.raises(DecoderEnded, match="crashed over it"):
            pool.open_file(b"x", PIXELS, PAGES)
        assert not running(pool)
    finally:
        pool.close()


# The life of a decoder process


def test_a_decoder_imports_neither_the_server_nor_the_model(pool: DecoderProcesses) -> None:
    """It stays small and starts fast."""
    code = "import sys, images.processes; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"PIL", "pypdfium2"} <= set(loaded)
    assert not {"torch", "transformers", "bentoml", "fastapi", "starlette", "pydantic", "numpy"} & set(loaded)
    assert pool.open_file(IMAGE, PIXELS, PAGES)
    assert running(pool)[0].memory_info().rss < 60 * 2**20


def test_a_decoder_has_a_lower_priority_than_the_model(pool: DecoderProcesses) -> None:
    assert pool.open_file(IMAGE, PIXELS, PAGES)
    assert running(pool)[0].nice() >= processes.NICE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_decoders_ignore_signals_to_every_process(pool: DecoderProcesses, number: signal.Signals) -> None:
    """A terminal and a service manager send them while requests are still finishing."""
    assert pool.open_file(IMAGE, PIXELS, PAGES)
    before = running(pool)
    before[0].send_signal(number)
    assert pool.open_file(IMAGE, PIXELS, PAGES)
    assert running(pool) == before


def test_a_decoder_ends_with_the_process_that_started_it() -> None:
    code = (
        "import os, sys; from images.processes import DecoderProcesses\n"
        f"pool = DecoderProcesses(2, 20, 10**6, 10**6); pool.start(); pool.open_file({SMALL!r}, 10**6, 1)\n"
        "print(*(one._process.pid for one in pool._all), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        children = [psutil.Process(int(pid)) for pid in server.stdout.readline().split()]
        assert len(children) == 2
        server.kill()
        _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


def test_closing_ends_a_decoder_at_work_and_starts_no_other(pool: DecoderProcesses) -> None:
    assert pool.open_file(IMAGE, PIXELS, PAGES)
    (process,) = running(pool)
    stopped(process)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(pool.open_file, IMAGE, PIXELS, PAGES)
        pool.close()
        with pytest.raises(DecoderUnavailable, match="shutting down"):
            asked.result()
    assert not process.is_running()
    assert not running(pool)


def test_a_decoder_that_cannot_be_started_is_not_the_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(DecoderUnavailable):
        read_images(IMAGE, "param", ImageLimits(), DecoderProcesses(1, 5, PIXELS, 2**20))


def test_messages_of_libraries_about_a_file_stay_out_of_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    """libtiff writes untrusted content of a file to the standard error."""
    data = encoded(NOISE, "TIFF", compression="tiff_lzw")
    pool = DecoderProcesses(1, 20, PIXELS, 2**20)
    try:
        with pytest.raises(InvalidImage):
            pool.open_file(data[:8] + bytes(2000) + data[2008:], PIXELS, PAGES)
    finally:
        pool.close()
    assert capfd.readouterr() == ("", "")
