"""Reads a file by types that know its format and writes what they kept: read_back.py keda|grafana FILE

For .venv-deploy's Python. The types refuse a wrong value and forget a field that they do not know, so what does not
come back was misspelt.
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

    register_default_plugins()  # the types of panels and of Prometheus' queries
    return json.loads(JSONEncoder().encode(Dashboard.from_json(json.loads(text))))


kept = {"keda": keda, "grafana": grafana}[sys.argv[1]](Path(sys.argv[2]).read_text())
sys.stdout.write(json.dumps(kept))
