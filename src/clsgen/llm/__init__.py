"""A chat client for any OpenAI-compatible endpoint: requests and replies, limits and budget, the hosts it may reach."""
