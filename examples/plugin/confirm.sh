#!/bin/sh
# An example of a plug-in: it verifies a person by the presence of a file that
# only root writes, /run/countersign-present/USER, as a badge reader might. It
# shows the contract and is no authenticator; docs/plugin.md is the contract.
#
# Set PRESENT to look in another directory. The service runs plug-ins with a
# clean environment, so this has its default there.
set -eu

IFS= read -r question

# member NAME prints a member of the question, which is one flat JSON object in
# one line. Nothing taken from it is ever run.
member() {
  printf '%s\n' "$question" | sed -n 's/.*"'"$1"'":"\([A-Za-z0-9._-]*\)".*/\1/p'
}

nonce=$(member nonce)
user=$(member user)
verified=false
if [ -n "$user" ] && [ -f "${PRESENT:-/run/countersign-present}/$user" ]; then
  verified=true
fi
printf '{"version":1,"nonce":"%s","verified":%s}\n' "$nonce" "$verified"
