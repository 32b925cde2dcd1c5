#!/bin/sh
# Verifies evidence by hand: verify_openssl.sh evidence.json root.pem
# Needs openssl, jq and coreutils, and nothing of Countersign.
set -eu
evidence=$1 root=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# base64url of RFC 7515, decoded and made.
decode() {
  text=$(cat)
  while [ $((${#text} % 4)) -ne 0 ]; do text="$text="; done
  printf %s "$text" | basenc --base64url -d
}
sha() { openssl dgst -sha256 -binary | basenc --base64url | tr -d '=\n'; }
part() { jq -r ".$1" "$evidence" | tr -d '\n' | cut -d. -f"$2"; }
claims() { part "$1" 2 | decode; }
same() { [ "$2" = "$3" ] || { echo "$1 does not match" >&2; exit 1; }; }

# The chains, at the time the receipt says.
at=$(claims receipt | jq .iat)
for chain in certificates issuer_certificates; do
  jq -r ".$chain[0]" "$evidence" >"$dir/$chain.pem"
  jq -r ".$chain[1:][]" "$evidence" >"$dir/above.pem"
  openssl verify -attime "$at" -no-CApath -no-CAstore -CAfile "$root" \
    -untrusted "$dir/above.pem" "$dir/$chain.pem" >/dev/null
  openssl x509 -in "$dir/$chain.pem" -noout -pubkey >"$dir/$chain.pub"
  # The key's role stands in the extension: UTF8STRING :approval
  openssl x509 -in "$dir/$chain.pem" -outform DER |
    openssl asn1parse -inform DER | grep -A1 ':1.3.6.1.4.1.32473.17.1$' |
    sed -n 's/.*HEX DUMP\]://p' | basenc --base16 -d |
    openssl asn1parse -inform DER | grep UTF8STRING | head -n1
done

# The three signatures. JWS keeps r and s side by side, openssl wants DER.
verify() {
  part "$1" 3 | decode | basenc --base16 -w0 >"$dir/rs"
  printf 'asn1=SEQUENCE:s\n[s]\nr=INTEGER:0x%s\ns=INTEGER:0x%s\n' \
    "$(cut -c1-64 "$dir/rs")" "$(cut -c65-128 "$dir/rs")" >"$dir/sig.cnf"
  openssl asn1parse -genconf "$dir/sig.cnf" -noout -out "$dir/sig.der"
  printf '%s.%s' "$(part "$1" 1)" "$(part "$1" 2)" >"$dir/signed"
  echo "$1:"
  openssl dgst -sha256 -verify "$dir/$2.pub" -signature "$dir/sig.der" "$dir/signed"
}
verify request issuer_certificates
verify decision certificates
verify receipt issuer_certificates

# What names what, and whose key it was.
same 'the device' "$(claims decision | jq -r .iss)" \
  "$(openssl x509 -in "$dir/certificates.pem" -noout -subject -nameopt sep_multiline,sname | sed -n 's/^ *CN=//p')"
same 'the request' "$(claims decision | jq -r .req)" "$(jq -r .request "$evidence" | tr -d '\n' | sha)"
same 'the decision' "$(claims receipt | jq -r .decision)" "$(jq -r .decision "$evidence" | tr -d '\n' | sha)"
same 'the attestation' "$(claims receipt | jq -S .attestation)" "$(jq -S .attestation "$evidence")"
claims decision | jq -r '"\(.iss) decided to \(.decision) \(.jti) at class \(.uv.class)"'
