"""The documents of an image as frozen values: Descriptor, Manifest, Index, Config.

`parse` is strict and keeps every field it does not know in `extra`; `render` is canonical: the same value
always gives the same bytes. A document that was pulled is kept as its own bytes; rendering is for new ones.
"""

from imagetool.spec.config import Config, History, RunConfig
from imagetool.spec.descriptor import Descriptor, Platform
from imagetool.spec.document import MAX_DOCUMENT, parse_document
from imagetool.spec.manifest import Index, Manifest

__all__ = [
    "MAX_DOCUMENT",
    "Config",
    "Descriptor",
    "History",
    "Index",
    "Manifest",
    "Platform",
    "RunConfig",
    "parse_document",
]
