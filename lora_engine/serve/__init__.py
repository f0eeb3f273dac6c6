"""An OpenAI-compatible endpoint from Compare's batch decoder: the base and every adapter.

From the bottom up:

api_errors       what goes wrong, in OpenAI's form
api_key          the key that every request must carry
api_requests     a request's body, checked: every parameter honoured or refused by name
generation       one answer in the making: its text, where it stops, what it reports
lanes            which answers run in one batch, and how new ones join it
scheduler        the thread that decodes for all requests, and the queue in front of it
served_models    model names: the base, and the adapters trained on it
api_answers      answers in OpenAI's form, whole and as stream events
routes           /v1/models, /v1/chat/completions, /v1/completions
"""
