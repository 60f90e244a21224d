"""The description of the APIs for machines, OpenAPI 3.1, made from the config.

config → pieces → what /openapi.json answers and /docs shows
"""

from trigger.web.openapi.document import pieces

__all__ = ["pieces"]
