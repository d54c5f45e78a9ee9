from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api import __version__
from engine.config import EngineConfig
from engine.engine import Engine
from models.choice import Served
from tests.engines import running_engine
from tests.http.served import MODEL, client_of
from tests.payloads import chat, image_part, user
from tests.prompts import noise_image

HEALTH_KEYS = [
    *("status", "reason", "model_loaded", "model", "device", "dtype", "memory_used_mb", "memory_planned_mb"),
    *("revision", "layout", "orientation", "unwarping", "version", "uptime_seconds", "queue"),
]


def test_health_reports_the_model_that_is_served(client: TestClient) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == HEALTH_KEYS
    measured = {name: body.pop(name) for name in ("memory_used_mb", "memory_planned_mb", "uptime_seconds")}
    assert body == {
        "status": "healthy",
        "reason": None,
        "model_loaded": True,
        "model": MODEL,
        "device": "cpu",
        "dtype": "float32",
        "revision": "unknown",
        "layout": None,
        "orientation": None,
        "unwarping": None,
        "version": __version__,
        "queue": {"running": 0, "waiting": 0, "slots": 4, "free_slots": 4},
    }
    assert measured["memory_used_mb"] > 0
    assert measured["memory_planned_mb"] > 0
    assert measured["uptime_seconds"] >= 0


def test_health_names_the_models_that_prepare_pages(engine: Engine) -> None:
    layout = Served("PaddlePaddle/PP-DocLayoutV3_safetensors", "abc", Path("/layout"))
    body = client_of(engine, layout=layout).get("/health").json()
    assert body["layout"] == {"model": "PaddlePaddle/PP-DocLayoutV3_safetensors", "revision": "abc"}
    assert (body["orientation"], body["unwarping"]) == (None, None)


def test_health_answers_503_with_the_same_keys_before_the_model_is_loaded(checkpoint: Path) -> None:
    answer = client_of(Engine(EngineConfig(model=checkpoint))).get("/health")
    assert answer.status_code == 503
    assert list(answer.json()) == HEALTH_KEYS
    assert answer.json()["status"] == "loading"
    assert answer.json()["model_loaded"] is False


def test_a_request_before_the_model_is_loaded_is_503(checkpoint: Path) -> None:
    answer = client_of(Engine(EngineConfig(model=checkpoint))).post("/v1/chat/completions", json=chat())
    assert answer.status_code == 503
    assert "still loading" in answer.json()["error"]["message"]


def test_health_answers_503_once_the_engine_died(checkpoint: Path) -> None:
    with running_engine(checkpoint) as engine:
        client = client_of(engine)
        assert engine.runner is not None
        engine.runner.decode = engine.runner.cache = None  # type: ignore[assignment]  # the next step breaks on it
        assert client.post("/v1/chat/completions", json=chat()).status_code == 503
        answer = client.get("/health")
        assert answer.status_code == 503
        assert answer.json()["status"] == "unhealthy"


def test_the_list_of_models_names_the_one_that_answers(client: TestClient) -> None:
    body = client.get("/v1/models").json()
    assert body["object"] == "list"
    assert [card["id"] for card in body["data"]] == [MODEL]
    assert body["data"][0]["max_model_len"] == 512


def test_a_card_names_the_layout_model_and_the_list_has_no_card_of_it(engine: Engine) -> None:
    """Clients take any entry of the list for a model to chat with."""
    layout = Served("PaddlePaddle/PP-DocLayoutV3_safetensors", "abc", Path("/layout"))
    (card,) = client_of(engine, layout=layout).get("/v1/models").json()["data"]
    assert (card["id"], card["layout"]) == (MODEL, layout.name)


@pytest.mark.parametrize("name", [MODEL, "PaddlePaddle/PaddleOCR-VL", "PaddleOCR-VL-1.6-0.9B"])
def test_any_name_of_the_family_finds_the_model(client: TestClient, name: str) -> None:
    assert client.get(f"/v1/models/{name}").json()["id"] == MODEL
    assert client.post("/v1/chat/completions", json=chat(model=name)).json()["model"] == MODEL


def test_another_model_is_404_and_the_message_names_the_served_ones(client: TestClient) -> None:
    for answer in (client.get("/v1/models/gpt-4"), client.post("/v1/chat/completions", json=chat(model="gpt-4"))):
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert MODEL in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v2", 404), ("GET", "/v1/chat/completions", 405), ("PUT", "/health", 405)]
)
def test_an_unknown_path_is_an_error_in_the_envelope(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_another_path_of_openais_is_404_and_says_where_to_go(client: TestClient) -> None:
    answer = client.post("/v1/completions", json={"prompt": "x"})
    assert answer.status_code == 404
    assert "/v1/chat/completions" in answer.json()["error"]["message"]


def test_strict_names_make_another_name_of_the_family_404(engine: Engine) -> None:
    client = client_of(engine, strict_names=True)
    assert client.post("/v1/chat/completions", json=chat(model="PaddleOCR-VL-0.9B")).status_code == 404
    assert client.post("/v1/chat/completions", json=chat(model=MODEL)).status_code == 200


def test_other_names_are_served_and_listed(engine: Engine) -> None:
    client = client_of(engine, strict_names=True, other_names=("gpt-4",))
    answer = client.post("/v1/chat/completions", json=chat(model="gpt-4"))
    assert answer.json()["model"] == MODEL
    cards = client.get("/v1/models").json()["data"]
    assert [(card["id"], card["root"]) for card in cards] == [(MODEL, MODEL), ("gpt-4", MODEL)]


def test_the_version_is_the_projects(client: TestClient) -> None:
    assert client.get("/version").json() == {"version": __version__}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_ping_is_health_without_a_body(client: TestClient, checkpoint: Path, method: str) -> None:
    assert client.request(method, "/ping").status_code == 200
    assert client_of(Engine(EngineConfig(model=checkpoint))).request(method, "/ping").status_code == 503


def test_tokens_and_text_turn_into_each_other(client: TestClient) -> None:
    body = client.post("/tokenize", json={"prompt": "Total 42 €", "return_token_strs": True}).json()
    assert body["count"] == len(body["tokens"]) == len(body["token_strs"])
    assert body["max_model_len"] == 512
    assert client.post("/detokenize", json={"tokens": body["tokens"]}).json() == {"prompt": "Total 42 €"}


def test_the_tokens_of_messages_are_those_of_the_chat_route(client: TestClient) -> None:
    asked = {"messages": user(image_part(noise_image(56, 84))), "mm_processor_kwargs": {"min_pixels": 28 * 28 * 50}}
    count = client.post("/tokenize", json=asked).json()["count"]
    answer = client.post("/v1/chat/completions", json=chat(**asked))
    assert answer.json()["usage"]["prompt_tokens"] == count > 50


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "x", "messages": chat()["messages"]}, "prompt"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": "x"}, "tokens"),
    ],
)
def test_input_that_cannot_be_tokenized_is_400(
    client: TestClient, path: str, body: dict[str, object], param: str
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_a_request_id_is_echoed_or_made(client: TestClient) -> None:
    assert client.get("/health", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    made = [client.get(path).headers["x-request-id"] for path in ("/health", "/nowhere")]
    assert len(set(made)) == 2
    assert client.get("/health", headers={"x-request-id": "x" * 999}).headers["x-request-id"] != "x" * 999
