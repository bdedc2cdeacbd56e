"""The routes under /api: what the command line and Python do, under the same names, a file a subject. Every route but the login
says what scope it needs; test_serve_api.py reads the OpenAPI and fails on one that answers without.
"""

from __future__ import annotations

from fastapi import APIRouter

from einthoven.serve.routes import ecgs, models, paper, talk, views, who, work
from einthoven.serve.routes.door import REFUSALS

router = APIRouter(prefix="/api", responses=REFUSALS)
for part in (who, ecgs, views, paper, models, talk, work):
    router.include_router(part.router)
