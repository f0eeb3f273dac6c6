"""The OpenAI-compatible endpoint: the base and its adapters as model names over one batch decoder."""
