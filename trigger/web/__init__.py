"""The web service: routes, authentication, answers, the description of the APIs, and the server itself."""
