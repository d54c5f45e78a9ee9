"""Routes about the server itself: health, readiness, version and metrics."""

import time

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from api import __version__
from api.schema.responses import Health, PageModel, Queue, Status, Version
from api.serving import Serving, serving_of
from models.choice import Served

PUBLIC_FIELDS = {"status", "model_loaded", "device", "memory_used_mb"}
# Any other state of the engine is unhealthy.
STATUS: dict[str, Status] = {"ready": "healthy", "loading": "loading", "draining": "draining", "stopped": "draining"}

router = APIRouter()


@router.get("/health", response_model=Health, responses={503: {"model": Health}})
def health(request: Request) -> JSONResponse:
    """200 once the model has answered a warm-up request; 503 with a reason while loading, draining, stuck or dead.

    A client without the key, where one is required, gets only the fields that show whether the server is well.
    """
    serving = serving_of(request)
    shown = None if request.state.known else PUBLIC_FIELDS
    return JSONResponse(_health(serving).model_dump(include=shown), 503 if serving.engine.trouble else 200)


def _health(serving: Serving) -> Health:
    engine = serving.engine
    trouble, stats = engine.trouble, engine.stats()
    return Health(
        status="unhealthy" if engine.state == "ready" and trouble else STATUS.get(engine.state, "unhealthy"),
        reason=trouble,
        model_loaded=engine.state in ("ready", "draining"),
        model=serving.model,
        device=engine.device,
        dtype=engine.dtype,
        memory_used_mb=engine.memory_used_mb(),
        memory_planned_mb=engine.memory_planned_mb(),
        revision=serving.revision,
        layout=_page_model(serving.layout),
        orientation=_page_model(serving.orientation),
        unwarping=_page_model(serving.unwarping),
        version=__version__,
        uptime_seconds=int(time.monotonic() - serving.began),
        queue=Queue(
            running=stats.running,
            waiting=stats.waiting,
            slots=engine.slots,
            free_slots=stats.free_slots,
        ),
    )


def _page_model(served: Served | None) -> PageModel | None:
    return None if served is None else PageModel(model=served.name, revision=served.revision)


@router.get("/ping", response_class=Response, responses={503: {}})
@router.post("/ping", response_class=Response, responses={503: {}})
def ping(request: Request) -> Response:
    """Health without a body, as SageMaker asks for it."""
    return Response(status_code=503 if serving_of(request).engine.trouble else 200)


@router.get("/version")
def version() -> Version:
    return Version(version=__version__)


@router.get("/metrics", include_in_schema=False)
def metrics(request: Request) -> Response:
    return Response(serving_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)
