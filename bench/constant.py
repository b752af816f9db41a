"""The floor of every read: a plain Flask app with one route and nothing of ours around it, served as the app is."""

from __future__ import annotations

from flask import Flask, Response

app = Flask(__name__)


@app.get("/constant")
def constant() -> Response:
    return Response(b'{"status":"ok"}', content_type="application/json")
