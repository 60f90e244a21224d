"""The bare limit: Flask answers a constant."""

from flask import Flask
from front import PATH

app = Flask(__name__)


@app.post(PATH)
def constant():
    return {"response": {"uid": "1764072000123456789012345"}}, 202
