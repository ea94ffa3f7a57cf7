# SPDX-License-Identifier: Apache-2.0
"""From words to objects: an embedding an object, cosines, and places from the scene graph."""

from panoptic_gs.query.embeddings import ObjectEmbeddings, embed_objects, kept_models, load_embeddings, scene_key
from panoptic_gs.query.encoders import HOW_TO_GET_ONE, Encoder, HubEncoder
from panoptic_gs.query.phrases import Query, parse_query
from panoptic_gs.query.search import Hit, by_embedding, by_name, search

__all__ = [
    "HOW_TO_GET_ONE",
    "Encoder",
    "Hit",
    "HubEncoder",
    "ObjectEmbeddings",
    "Query",
    "by_embedding",
    "by_name",
    "embed_objects",
    "kept_models",
    "load_embeddings",
    "parse_query",
    "scene_key",
    "search",
]
