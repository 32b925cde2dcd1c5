"""Judges the test vectors without any code of Countersign.

Signatures are verified by jwcrypto, hashes made by hashlib. The one argument
is the directory of vectors.json and evidence.json. The first disagreement ends
the program with an error.
"""

import base64
import hashlib
import json
import pathlib
import sys

from cryptography import x509
from jwcrypto import jwk, jws


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sha(data):
    return b64(hashlib.sha256(data).digest())


def thumbprint(public):
    members = {name: public[name] for name in ("crv", "kty", "x", "y")}
    return sha(json.dumps(members, sort_keys=True, separators=(",", ":")).encode())


def verify(compact, key):
    """Returns header and claims, or raises."""
    token = jws.JWS()
    token.allowed_algs = ["ES256"]
    token.deserialize(compact, key)
    return token.jose_header, token.payload


def check(condition, what):
    if not condition:
        sys.exit("disagreement: " + what)


def check_keys(vectors):
    keys = {}
    for name, entry in vectors["keys"].items():
        key = jwk.JWK(**entry["jwk"])
        kid = thumbprint(entry["jwk"])
        check(kid == entry["jwk"]["kid"] == key.thumbprint(), "kid of " + name)
        keys[name] = key
    return keys


def check_messages(vectors, keys):
    claims_of, hash_of = {}, {}
    for message in vectors["messages"]:
        name = message["name"]
        header, payload = verify(message["compact"], keys[message["key"]])
        check(json.loads(payload) == message["claims"], "claims of " + name)
        kid = thumbprint(vectors["keys"][message["key"]]["jwk"])
        check(header == {"alg": "ES256", "typ": message["typ"], "kid": kid}, "header of " + name)
        check(sha(message["compact"].encode()) == message["hash"], "hash of " + name)
        claims_of[name], hash_of[name] = message["claims"], message["hash"]
    return claims_of, hash_of


def check_references(vectors, claims_of, hash_of):
    shown = {}
    for display in vectors["displays"]:
        record = "".join(line + "\n" for line in display["lines"])
        check(sha(record.encode()) == display["hash"], "hash of a display record")
        shown[display["request"], display["display_v"], display["lang"], display["tz"]] = display["hash"]
    previous = b64(bytes(32))
    for message in vectors["messages"]:
        claims, about = message["claims"], message.get("about")
        if message["typ"] == "approval-decision+jwt":
            key = about, claims["display_v"], claims["lang"], claims["tz"]
            check(claims["req"] == hash_of[about], "req of " + message["name"])
            check(claims["display"] == shown[key], "display of " + message["name"])
            check(claims["prev"] == previous, "prev of " + message["name"])
            previous = message["hash"]
        elif about:
            check(claims["decision"] == hash_of[about], "decision of " + message["name"])
            check(claims["aud"] == claims_of[about]["iss"], "aud of " + message["name"])
    return len(shown)


def check_confirmation(vectors):
    device, approval = (thumbprint(vectors["keys"][name]["jwk"]) for name in ("device", "approval"))
    digest = hashlib.sha256(f"countersign confirmation\n{device}\n{approval}".encode()).digest()
    code = int.from_bytes(digest[:8], "big") % 1_000_000
    check(vectors["confirmation"] == {"device": device, "approval": approval, "code": f"{code:06}"}, "confirmation code")


def accepted(compact, keys):
    try:
        verify(compact, keys)
        return True
    except Exception:  # jwcrypto raises many kinds; each is a refusal
        return False


def check_invalid(vectors, keys):
    counts = {"good": 0, "bad": 0}
    for entry in vectors["invalid"]:
        signature = entry.get("signature")
        if not signature:
            continue
        signers = ("approval", "device") if entry["parser"] == "approval-decision+jwt" else ("issuer",)
        good = any(accepted(entry["input"], keys[name]) for name in signers)
        check(good == (signature == "good"), "signature of " + entry["name"])
        counts[signature] += 1
    return counts


def check_evidence(directory):
    evidence = json.loads((directory / "evidence.json").read_text())
    count = 0
    for part, chain in (
        ("request", "issuer_certificates"),
        ("receipt", "issuer_certificates"),
        ("decision", "certificates"),
    ):
        leaf = x509.load_pem_x509_certificate(evidence[chain][0].encode())
        _, payload = verify(evidence[part], jwk.JWK.from_pyca(leaf.public_key()))
        claims = json.loads(payload)
        if part == "decision":
            check(claims["req"] == sha(evidence["request"].encode()), "req of the evidence")
        if part == "receipt":
            check(claims["decision"] == sha(evidence["decision"].encode()), "decision of the evidence")
            check(claims["attestation"] == evidence["attestation"], "attestation of the evidence")
        count += 1
    return count


def main():
    directory = pathlib.Path(sys.argv[1])
    vectors = json.loads((directory / "vectors.json").read_text())
    keys = check_keys(vectors)
    claims_of, hash_of = check_messages(vectors, keys)
    displays = check_references(vectors, claims_of, hash_of)
    check_confirmation(vectors)
    counts = check_invalid(vectors, keys)
    evidence = check_evidence(directory)
    print(
        f"messages {len(claims_of)}, displays {displays}, good {counts['good']}, bad {counts['bad']}, "
        f"evidence {evidence}, ok"
    )


main()
