"""Parses a file into the types of its format and writes them back: read_back.py keda|grafana FILE

Runs on .venv-deploy's Python. The types reject a wrong value and drop an unknown field, so a field that does not come
back is misspelt.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml


def keda(text: str) -> Any:
    from cloudcoil.models.keda.v1alpha1 import ScaledObject  # type: ignore[import-not-found]

    return ScaledObject.model_validate(yaml.safe_load(text)).model_dump(mode="json", by_alias=True, exclude_none=True)


def grafana(text: str) -> Any:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder  # type: ignore[import-not-found]
    from grafana_foundation_sdk.cog.plugins import register_default_plugins  # type: ignore[import-not-found]
    from grafana_foundation_sdk.models.dashboard import Dashboard  # type: ignore[import-not-found]

    register_default_plugins()  # for panels and Prometheus queries
    return json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(text))))


written = {"keda": keda, "grafana": grafana}[sys.argv[1]](Path(sys.argv[2]).read_text())
sys.stdout.write(json.dumps(written))
