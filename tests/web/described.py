"""A config with every kind of field and every way to say who calls, for what describes APIs."""

from __future__ import annotations

from tests.web.site import OPERATOR, OTHER_TOKEN, TOKEN

# The user and the operator have the same name and password: either's are sent for HTTP Basic.
USER = "ada"

FIELDS = """
            word: {type: string, required: true, max_length: 80}
            text: {type: string, min_length: 2, max_length: 9, nullable: true, description: Some text}
            code: {type: string, pattern: "^[A-Z]{2}[0-9]+$", max_length: 12}
            colour: {type: string, enum: [red, green], default: red}
            count: {type: integer, min: 1, max: 100, default: 1}
            level: {type: integer, enum: [1, 2, 3], nullable: true}
            whole: {type: integer}
            share: {type: number, min: 0.5, max: 20}
            real: {type: number, nullable: true}
            factor: {type: number, enum: [0.5, 2]}
            gift: {type: boolean, default: false}
            day: {type: date}
            at: {type: datetime}
            mail: {type: email}
            link: {type: url}
            mark: {type: uuid}
            card: {type: string, secret: true}
            tags: {type: list, of: {type: string}, max_length: 5}
            counts: {type: list, of: {type: integer, min: 0}, min_length: 1}
            more: {type: list}
            address: {type: object, unknown: drop, fields: {city: {type: string, required: true}, zip: {type: integer}}}
            lines: {type: list, of: {type: object, fields: {sku: {type: string, required: true}, n: {type: integer}}}}
            extra: {type: object}
            notes: {type: any}
            pick: {type: any, enum: [a, 5, true]}
"""

CONFIG = f"""\
docs: public
server: {{auth_failures: 1000000, backlog: 1000000}}
operators: {{{USER}: {OPERATOR}}}
workflows:
  echo: work:echo
  steps:
    steps:
      - {{name: one, python: work:echo}}
      - {{name: two, python: work:fails}}
modules:
  all:
    description: Every kind of field
    methods:
      types:
        description: "One line\\nAnd more about it"
        enabled: true
        auth: {{mode: none}}
        workflow: echo
        input:
          fields:{FIELDS}
        debug: {{word: hello, count: 3, card: "4111", day: "2026-01-31", tags: [a, b]}}
      keeps:
        enabled: true
        auth: {{mode: token, token: {TOKEN}}}
        workflow: steps
        input:
          unknown: keep
          fields: {{n: {{type: integer, required: true}}, m: {{type: list, of: {{type: number}}, required: true}}}}
      drops:
        enabled: true
        auth: {{mode: password, users: {{{USER}: {OPERATOR}}}}}
        workflow: echo
        input: {{unknown: drop, fields: {{b: {{type: boolean, required: true}}}}}}
      nested:
        enabled: true
        auth: {{mode: none}}
        workflow: echo
        input: {{fields: {{o: {{type: object, required: true, fields: {{a: {{type: integer, nullable: true}}}}}}}}}}
      "off":
        auth: {{mode: none}}
        workflow: echo
  any:
    methods:
      both: {{enabled: true, auth: {{mode: none}}, workflow: echo}}
      get:
        enabled: true
        verbs: [GET]
        auth: {{mode: token, tokens: {{ci: {TOKEN}, backup: {OTHER_TOKEN}}}}}
        workflow: echo
"""
