"""The OpenAI-compatible endpoint: the base and its adapters are model names."""
