"""Prove that a deployed service makes a good video: client, media checks and a pytest suite.

It knows a URL, a token and an authority, and nothing about how the service was deployed.
"""
