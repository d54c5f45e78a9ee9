"""Files with small damage, PDFs with passwords, and formats that are refused by name."""

import base64
from typing import Any

import pytest
from starlette.testclient import TestClient

from images import heic
from tests.http.asking import chunks, post
from tests.payloads import chat, encoded, user
from tests.prompts import noise_image

PAGE = noise_image(120, 90)
READ = {"type": "text", "text": "OCR:"}
PROTECTED = base64.b64decode(
    "JVBERi0xLjQKMSAwIG9iajw8L1R5cGUvQ2F0YWxvZy9QYWdlcyAyIDAgUj4+ZW5kb2JqCjIgMCBvYmo8PC9UeXBlL1BhZ2VzL0tpZHNbMyAwIF"
    "JdL0NvdW50IDE+PmVuZG9iagozIDAgb2JqPDwvVHlwZS9QYWdlL1BhcmVudCAyIDAgUi9NZWRpYUJveFswIDAgNzIgNzJdPj5lbmRvYmoKNCAw"
    "IG9iajw8L0ZpbHRlci9TdGFuZGFyZC9WIDIvUiAzL0xlbmd0aCAxMjgvUCAtNC9PPDlmNTRkYTc0YWI2ZDliN2M5MWU1YWNmYmZmZjJkYmNkMW"
    "QzM2E5NzkzMWU0MjE4ZGU2NzUyMmU0ZDFmZTU3MTA+L1U8YmM0ZGYwNWY4MDE2NWU3ZjZmZjA5MjI0ODc2YmQ5NmQwMDAwMDAwMDAwMDAwMDAw"
    "MDAwMDAwMDAwMDAwMDAwMD4+PmVuZG9iagp4cmVmCjAgNQowMDAwMDAwMDAwIDY1NTM1IGYgCjAwMDAwMDAwMDkgMDAwMDAgbiAKMDAwMDAwMD"
    "A1MiAwMDAwMCBuIAowMDAwMDAwMTAxIDAwMDAwIG4gCjAwMDAwMDAxNjIgMDAwMDAgbiAKdHJhaWxlcjw8L1NpemUgNS9Sb290IDEgMCBSL0Vu"
    "Y3J5cHQgNCAwIFIvSURbPDMwMzEzMjMzMzQzNTM2MzczODM5NjE2MjYzNjQ2NTY2PjwzMDMxMzIzMzM0MzUzNjM3MzgzOTYxNjI2MzY0NjU2Nj"
    "5dPj4Kc3RhcnR4cmVmCjM1NgolJUVPRg=="
)
"""A page of 72 x 72 points under the password `open sesame`, in RC4 with 128 bits."""


def image_of(data: bytes, kind: str) -> list[dict[str, Any]]:
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return user({"type": "image_url", "image_url": {"url": uri}}, READ)


def pdf_of(**fields: str) -> list[dict[str, Any]]:
    data = base64.b64encode(PROTECTED).decode()
    return user({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{data}", **fields}}, READ)


def error_of(client: TestClient, messages: list[dict[str, Any]]) -> dict[str, Any]:
    answer = client.post("/v1/chat/completions", json=chat(messages=messages))
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_an_image_that_lacks_its_end_is_read_with_a_warning(client: TestClient, kind: str) -> None:
    data = encoded(PAGE, kind.upper())
    messages = image_of(data[: len(data) * 4 // 5], kind)
    told = f"messages.0.content.0.image_url.url: the {kind.upper()} is damaged; what could not be decoded is white"
    assert told in post(client, messages=messages)["choices"][0]["ocr"]["warnings"]
    assert told in chunks(client, messages=messages)[-1]["choices"][0]["ocr"]["warnings"]


def test_a_whole_image_is_not_called_damaged(client: TestClient) -> None:
    warnings = post(client, messages=image_of(encoded(PAGE), "png"))["choices"][0]["ocr"]["warnings"]
    assert not any("damaged" in warning for warning in warnings)


def test_the_other_routes_for_documents_warn_too(client: TestClient) -> None:
    data = base64.b64encode(encoded(PAGE)[: len(encoded(PAGE)) * 4 // 5]).decode()
    parsed = client.post("/layout-parsing", json={"file": data, "visualize": False, "maxNewTokens": 4}).json()
    (page,) = parsed["result"]["layoutParsingResults"]
    told = "the PNG is damaged; what could not be decoded is white"
    assert f"file: {told}" in page["prunedResult"]["warnings"]
    uri = {"type": "image_url", "image_url": f"data:image/png;base64,{data}"}
    (page,) = client.post("/v1/ocr", json={"document": uri}).json()["pages"]
    assert f"document.image_url: {told}" in page["warnings"]


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_an_image_of_which_most_is_lost_is_refused(client: TestClient, kind: str) -> None:
    data = encoded(PAGE, kind.upper())
    assert "damaged" in error_of(client, image_of(data[: len(data) // 4], kind))["message"]


def test_a_pdf_is_opened_by_its_password(client: TestClient) -> None:
    assert post(client, messages=pdf_of(password="open sesame"))["choices"][0]["finish_reason"]


@pytest.mark.parametrize(
    ("fields", "told"), [({}, "needs a password"), ({"password": "wrong"}, "the password does not open the PDF")]
)
def test_a_protected_pdf_says_what_it_lacks(client: TestClient, fields: dict[str, str], told: str) -> None:
    error = error_of(client, pdf_of(**fields))
    assert told in error["message"]
    assert error["param"] == "messages.0.content.0.file.file_data"


def test_other_routes_take_a_password_too(client: TestClient) -> None:
    data = base64.b64encode(PROTECTED).decode()
    uri = f"data:application/pdf;base64,{data}"
    for path, body in (
        ("/layout-parsing", {"file": data, "visualize": False, "maxNewTokens": 4}),
        ("/v1/ocr", {"document": {"type": "document_url", "document_url": uri}}),
    ):
        place = body if "file" in body else body["document"]
        assert client.post(path, json=body).status_code in (400, 422)
        place["password"] = "open sesame"  # type: ignore[index]
        assert client.post(path, json=body).status_code == 200


def test_heic_is_refused_by_its_name_where_nothing_reads_it(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heic, "can_read", lambda: False)  # as without the extra
    message = error_of(client, image_of(b"\0\0\0\x18ftypheic" + bytes(40), "heic"))["message"]
    assert "this server does not read HEIC; send the image as JPEG" in message


def test_damaged_heic_is_refused(client: TestClient) -> None:
    assert heic.can_read(), "scripts/setup installs pillow-heif"
    whole = encoded(PAGE, heic.FORMAT)
    for data in (whole[: len(whole) // 2], whole[:40] + bytes(len(whole) - 40)):
        assert error_of(client, image_of(data, "heic"))["param"] == "messages.0.content.0.image_url.url"
    assert post(client, messages=image_of(whole, "heic"))["usage"]["completion_tokens"] > 0
