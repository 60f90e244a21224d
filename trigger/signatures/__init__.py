"""Signatures of webhooks: how each sender makes one, and whether one is right.

Nothing here knows HTTP or the config: headers come as a function from name to text, bodies as bytes.
"""

from trigger.signatures.schemes import SCHEMES, Digest, Encoding, Layout, Scheme
from trigger.signatures.signing import sign
from trigger.signatures.verifying import SignatureMissing, SignatureWrong, Signer, delivery, signer_of, verify

__all__ = [
    "SCHEMES",
    "Digest",
    "Encoding",
    "Layout",
    "Scheme",
    "SignatureMissing",
    "SignatureWrong",
    "Signer",
    "delivery",
    "sign",
    "signer_of",
    "verify",
]
