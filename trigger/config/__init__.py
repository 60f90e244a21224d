"""The YAML file and the environment, as frozen values: the only part of the program that reads either."""

from __future__ import annotations

from trigger.config.editing import set_enabled
from trigger.config.for_editors import json_schema
from trigger.config.loading import load
from trigger.config.model import Api, Auth, Config, Module, NoAuth, PasswordAuth, TokenAuth, Verb, Workflow
from trigger.config.secret import Secret, hash_secret
from trigger.config.settings import Settings
from trigger.config.watcher import Watcher
from trigger.fields.model import MISSING, Field, FieldType, Input, Unknown

__all__ = [
    "Api",
    "Auth",
    "Config",
    "Field",
    "FieldType",
    "Input",
    "MISSING",
    "Module",
    "NoAuth",
    "PasswordAuth",
    "Secret",
    "Settings",
    "TokenAuth",
    "Unknown",
    "Verb",
    "Watcher",
    "Workflow",
    "hash_secret",
    "json_schema",
    "load",
    "set_enabled",
]
