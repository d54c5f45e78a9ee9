"""Routes that list what is served."""

from fastapi import APIRouter, Request

from api.errors import responses
from api.schema.responses import ModelCard, ModelList
from api.serving import Serving, serving_of

router = APIRouter()


@router.get("/v1/models")
def list_models(request: Request) -> ModelList:
    serving = serving_of(request)
    return ModelList(data=[_card(serving, name) for name in serving.names])


@router.get("/v1/models/{name:path}", responses=responses(404))
def get_model(name: str, request: Request) -> ModelCard:
    serving = serving_of(request)
    serving.check_model(name)
    return _card(serving, serving.model)


def _card(serving: Serving, name: str) -> ModelCard:
    return ModelCard(
        id=name,
        created=serving.started,
        root=serving.model,
        max_model_len=serving.engine.max_model_len,
        layout=None if serving.layout is None else serving.layout.name,
    )
