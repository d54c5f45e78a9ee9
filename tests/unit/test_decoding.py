"""Decoding in processes apart: what an image can do to one, and that it does it to no other."""

import io
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

from api.errors import ApiError
from images import decoding, processes
from images.loading import Limits, read_images
from images.pdf import LONGEST_SIDE, UndecodableError
from images.processes import DecoderError, Decoders, EndedDecoderError

PIXELS = 50_000_000
PAGES = 64


def encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


NOISE = Image.effect_noise((300, 200), 90).convert("RGB")
IMAGE = encoded(NOISE, "PNG")
SMALL = encoded(Image.new("RGB", (9, 9)), "PNG")


def running(pool: Decoders) -> list[psutil.Process]:
    """Those that run. The pool keeps them to itself: only a test wants to hurt them."""
    return [psutil.Process(one._process.pid) for one in pool._all if one._process is not None]


@pytest.fixture
def pool() -> Iterator[Decoders]:
    pool = Decoders(1, 20, PIXELS, 20 * 2**20)
    pool.start()
    yield pool
    pool.close()


def stopped(process: psutil.Process) -> psutil.Process:
    """A decoder that hangs, as one would in a loop."""
    process.suspend()
    return process


# What comes back


@pytest.mark.parametrize("format_", decoding.FORMATS)
def test_an_image_is_the_same_as_decoded_here(pool: Decoders, format_: str) -> None:
    data = encoded(NOISE, format_)
    here = decoding.open_file(data, PIXELS, PAGES)
    there = pool.open_file(data, PIXELS, PAGES)
    assert isinstance(here, Image.Image)
    assert isinstance(there, Image.Image)
    assert (there.mode, there.size, there.tobytes()) == (here.mode, here.size, here.tobytes())


@pytest.mark.parametrize("size", [(1, 1), (1, 70_000), (70_000, 1), (257, 1023), (3000, 2000)])
def test_an_image_of_any_shape_comes_back_whole(pool: Decoders, size: tuple[int, int]) -> None:
    """It is sent a few rows at a time."""
    image = Image.effect_noise(size, 90).convert("RGB")
    found = pool.open_file(encoded(image, "BMP"), PIXELS, PAGES)
    assert isinstance(found, Image.Image)
    assert found.tobytes() == image.tobytes()


@pytest.mark.parametrize("format_", ["PDF", "TIFF"])
def test_pages_are_decoded_one_by_one_when_they_are_opened(pool: Decoders, format_: str) -> None:
    data = encoded(NOISE, format_, save_all=True, append_images=[NOISE.rotate(180)])
    pages = read_images(data, "param", Limits(), pool)
    assert [page.page for page in pages] == [True, True]
    for number, page in enumerate(pages):
        assert page.open().tobytes() == decoding.open_page(data, number, PIXELS).tobytes()


def test_what_cannot_be_read_is_refused_with_the_same_words(pool: Decoders) -> None:
    for data in (b"hello", IMAGE[:2000], b"%PDF-1.7 x"):
        refusals = []
        for decoder in (decoding, pool):
            with pytest.raises(ApiError) as refusal:
                read_images(data, "param", Limits(), decoder)
            refusals.append((refusal.value.status, refusal.value.error))
        assert refusals[0] == refusals[1]
        assert refusals[0][0] == 400


# What an image can do to a decoder


def test_a_decoder_that_hangs_is_ended_in_time_and_the_next_image_is_read() -> None:
    pool = Decoders(1, 0.5, PIXELS, 2**20)
    try:
        assert pool.open_file(IMAGE, PIXELS, PAGES)
        hanging = stopped(running(pool)[0])
        with pytest.raises(ApiError, match=r"takes longer than 0\.5 seconds to decode") as refusal:
            read_images(IMAGE, "messages.0.content.1.image_url.url", Limits(), pool)
        assert (refusal.value.status, refusal.value.error["param"]) == (400, "messages.0.content.1.image_url.url")
        assert not hanging.is_running()
        assert pool.open_file(IMAGE, PIXELS, PAGES)
    finally:
        pool.close()


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that says it is square and black."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))

    head = struct.pack("!IIBBBBB", side, side, 8, 6, 0, 0, 0)
    rows = zlib.compressobj(9)
    body = b"".join(rows.compress(bytes(1 + 4 * side)) for _ in range(side)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not hold a process to RLIMIT_DATA")
def test_memory_is_bounded_and_the_decoder_goes_on_without_what_takes_more() -> None:
    """Pixels are bounded before; the bound on memory is for what a format takes beside them."""
    pool = Decoders(1, 20, 1000, 1000)
    try:
        assert pool.open_file(IMAGE, PIXELS, PAGES)
        before = running(pool)
        with pytest.raises(UndecodableError, match="more memory to decode than is allowed"):
            pool.open_file(bomb(10_000), 10**9, PAGES)
        assert pool.open_file(IMAGE, PIXELS, PAGES)
        assert running(pool) == before
    finally:
        pool.close()


def test_the_largest_image_allowed_is_decoded_within_the_bound_on_memory() -> None:
    """In the modes that take the most: alpha is put on white, 16 bits go through floats, and both are turned."""
    side = 3000
    pool = Decoders(1, 60, side * side, 20 * 2**20)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
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


def test_a_decoder_that_was_killed_is_replaced_and_the_image_is_read_all_the_same(pool: Decoders) -> None:
    assert pool.open_file(IMAGE, PIXELS, PAGES)
    (killed,) = running(pool)
    killed.kill()
    assert pool.open_file(IMAGE, PIXELS, PAGES)
    assert running(pool) != [killed]


def killed_once_it_works(pool: Decoders, times: int) -> None:
    """Kills the decoder whenever it is at work on a file that takes it a second."""
    for _ in range(times):
        while not (found := running(pool)) or found[0].cpu_percent(0.02) < 1:
            pass
        found[0].kill()
        found[0].wait()


def test_a_decoder_killed_at_work_costs_the_request_nothing(pool: Decoders) -> None:
    """As the kernel does where memory runs out: it is tried once more."""
    large = bomb(6000)
    pool.open_file(IMAGE, PIXELS, PAGES)
    with ThreadPoolExecutor(1) as threads:
        killing = threads.submit(killed_once_it_works, pool, 1)
        found = pool.open_file(large, PIXELS, PAGES)
        killing.result()
    assert isinstance(found, Image.Image)


def impostor(monkeypatch: pytest.MonkeyPatch, answer: str) -> list[list[str]]:
    """Decoders that answer every file with a line of Python; the list is of those that were started."""
    code = f"import os, socket; s = socket.socket(fileno=0); s.sendall({processes.FRAME.pack(2, 0) + b'{}'!r})\n"
    code += f"while s.recv(2**20): {answer}"
    start, started = subprocess.Popen, list[list[str]]()

    def instead(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(command)
        return start([sys.executable, "-c", code], **options)

    monkeypatch.setattr(subprocess, "Popen", instead)
    return started


def test_an_image_that_crashes_decoders_is_tried_twice_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a library does that writes where it should not."""
    started = impostor(monkeypatch, "os.abort()")
    pool = Decoders(1, 5, PIXELS, 2**20)
    try:
        with pytest.raises(EndedDecoderError, match="the decoder crashed over it"):
            pool.open_file(IMAGE, PIXELS, PAGES)
        assert len(started) == 2
        monkeypatch.undo()
        assert pool.open_file(IMAGE, PIXELS, PAGES)
    finally:
        pool.close()


def test_many_threads_share_a_few_decoders() -> None:
    pool = Decoders(2, 20, PIXELS, 2**20)
    try:
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda _: pool.open_file(IMAGE, PIXELS, PAGES), range(40)))
        assert len(found) == 40
        assert all(isinstance(one, Image.Image) and one.size == NOISE.size for one in found)
        assert len(running(pool)) <= 2
    finally:
        pool.close()


# What a decoder that was taken over can do to the server


@pytest.mark.parametrize(
    "said",
    [
        b"\xff" * processes.FRAME.size,
        processes.FRAME.pack(5, 0) + b"hello",
        processes.FRAME.pack(2, 2**50) + b"{}",
        processes.FRAME.pack(2, 0) + b"{}",
        processes.FRAME.pack(2, 0) + b"[]",
        *(
            processes.FRAME.pack(len(words), 0) + words
            for words in (b'{"width": 99999999, "height": 99999999}', b'{"width": "x", "height": []}', b'{"pages": {}}')
        ),
    ],
)
def test_an_answer_that_makes_no_sense_ends_the_decoder(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    impostor(monkeypatch, f"s.sendall({said!r})")
    pool = Decoders(1, 5, PIXELS, 2**20)
    try:
        with pytest.raises(EndedDecoderError, match="crashed over it"):
            pool.open_file(b"x", PIXELS, PAGES)
        assert not running(pool)
    finally:
        pool.close()


# How a decoder lives


def test_a_decoder_imports_neither_the_server_nor_the_model(pool: Decoders) -> None:
    """It is small, and starts fast."""
    code = "import sys, images.processes; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"PIL", "pypdfium2"} <= set(loaded)
    assert not {"torch", "transformers", "bentoml", "fastapi", "starlette", "pydantic", "numpy"} & set(loaded)
    assert pool.open_file(IMAGE, PIXELS, PAGES)
    assert running(pool)[0].memory_info().rss < 60 * 2**20


def test_a_decoder_steps_back_behind_the_model(pool: Decoders) -> None:
    assert pool.open_file(IMAGE, PIXELS, PAGES)
    assert running(pool)[0].nice() >= processes.NICE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_every_process_leaves_decoders_to_the_server(pool: Decoders, number: signal.Signals) -> None:
    """A terminal and a service manager send them while requests still run to their end."""
    assert pool.open_file(IMAGE, PIXELS, PAGES)
    before = running(pool)
    before[0].send_signal(number)
    assert pool.open_file(IMAGE, PIXELS, PAGES)
    assert running(pool) == before


def test_a_decoder_ends_with_the_process_that_started_it() -> None:
    code = (
        "import os, sys; from images.processes import Decoders\n"
        f"pool = Decoders(2, 20, 10**6, 10**6); pool.start(); pool.open_file({SMALL!r}, 10**6, 1)\n"
        "print(*(one._process.pid for one in pool._all), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        children = [psutil.Process(int(pid)) for pid in server.stdout.readline().split()]
        assert len(children) == 2
        server.kill()
        _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


def test_closing_ends_what_a_decoder_does_and_starts_no_other(pool: Decoders) -> None:
    assert pool.open_file(IMAGE, PIXELS, PAGES)
    (process,) = running(pool)
    stopped(process)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(pool.open_file, IMAGE, PIXELS, PAGES)
        pool.close()
        with pytest.raises(DecoderError, match="shutting down"):
            asked.result()
    assert not process.is_running()
    assert not running(pool)


def test_a_decoder_that_cannot_be_started_is_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ApiError) as refusal:
        read_images(IMAGE, "param", Limits(), Decoders(1, 5, PIXELS, 2**20))
    assert refusal.value.status == 503


def test_what_libraries_write_about_a_file_stays_out_of_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    """libtiff writes lines of its own to the standard error, with what a stranger put into the file."""
    data = encoded(NOISE, "TIFF", compression="tiff_lzw")
    pool = Decoders(1, 20, PIXELS, 2**20)
    try:
        with pytest.raises(UndecodableError):
            pool.open_file(data[:8] + bytes(2000) + data[2008:], PIXELS, PAGES)
    finally:
        pool.close()
    assert capfd.readouterr() == ("", "")


# What damaged files were found to do, wherever they are decoded


def tiff_of_frames(count: int) -> bytes:
    """Directories without a single entry, each 6 bytes long and pointing to the next."""
    first = encoded(Image.new("L", (1, 1)), "TIFF")
    place = struct.unpack("<I", first[4:8])[0]
    entries = struct.unpack("<H", first[place : place + 2])[0]
    link = place + 2 + 12 * entries
    start = len(first) + len(first) % 2
    directories = b"".join(struct.pack("<HI", 0, start + 6 * (number + 1)) for number in range(count))
    return first[:link] + struct.pack("<I", start) + first[link + 4 :].ljust(start - link - 4, b"\0") + directories


def test_the_pages_of_a_tiff_are_counted_no_further_than_the_limit() -> None:
    """Each of a million directories cost some microseconds to find, before any limit was looked at."""
    with pytest.raises(UndecodableError):
        decoding.open_file(tiff_of_frames(10**6), PIXELS, 4)


def test_a_tiff_whose_second_page_has_no_size_is_damaged() -> None:
    """Pillow's TypeError was an unexpected error, 500."""
    with pytest.raises(UndecodableError, match="damaged: Missing dimensions"):
        decoding.open_file(tiff_of_frames(1), PIXELS, PAGES)


def test_a_png_with_an_empty_colour_profile_is_damaged() -> None:
    """Pillow's IndexError was an unexpected error, 500."""
    profile = struct.pack("!I", 0) + b"iCCP" + struct.pack("!I", zlib.crc32(b"iCCP"))
    with pytest.raises(UndecodableError, match="damaged"):
        decoding.open_file(IMAGE[:-12] + profile + IMAGE[-12:], PIXELS, PAGES)  # behind the pixels


def page_of(width: str, height: str) -> bytes:
    return (
        f"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        f"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 {width} {height}]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF"
    ).encode()


@pytest.mark.parametrize(("width", "height"), [("1", "100000000"), ("100000000", "1"), ("0.001", "1e8"), ("0", "0")])
def test_a_page_that_is_a_line_is_drawn_small(width: str, height: str) -> None:
    """By its area alone, a page of 1 x 100,000,000 points had 14 million pixels in one column."""
    page = decoding.open_page(page_of(width, height), 0, PIXELS)
    assert max(page.size) <= LONGEST_SIDE
