"""Measures of retrieval and classification; every number names its protocol."""
