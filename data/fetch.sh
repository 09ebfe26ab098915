#!/usr/bin/env bash
# Puts tinyshakespeare.txt beside this script: a copy from $MAKEMOE_DATA_DIR where that holds it,
# else a download. Whole and checked, or not at all; does nothing when it is there already.
set -euo pipefail
exec </dev/null

readonly sha256=86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed
readonly url=https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt
readonly timeout_s=60

folder="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
target="$folder/tinyshakespeare.txt"

fail() {
  printf 'data/fetch.sh: %s\n' "$*" >&2
  exit 1
}

digest() { sha256sum <"$1" | cut -d ' ' -f 1; }

download() {
  if command -v curl >/dev/null; then
    curl --fail --silent --show-error --location --connect-timeout 15 --max-time "$timeout_s" \
      --output "$1" "$url"
  elif command -v wget >/dev/null; then
    timeout "$timeout_s" wget --quiet --tries=1 --timeout=15 --output-document="$1" "$url"
  elif command -v python3 >/dev/null; then
    timeout "$timeout_s" python3 - "$url" "$1" <<'PYTHON'
import sys
import urllib.request

try:
    with urllib.request.urlopen(sys.argv[1], timeout=15) as reply, open(sys.argv[2], "wb") as out:
        out.write(reply.read())
except OSError as error:
    sys.exit(f"python3: {error}")
PYTHON
  else
    fail "neither curl nor wget nor python3 is here; install one, or set MAKEMOE_DATA_DIR to a" \
      "folder that holds tinyshakespeare.txt."
  fi
}

if [[ -f "$target" ]]; then
  if [[ "$(digest "$target")" == "$sha256" ]]; then
    echo "data/tinyshakespeare.txt: already there" >&2
    exit 0
  fi
  echo "data/tinyshakespeare.txt: not the expected text (sha256 differs); replacing it" >&2
fi

temporary="$(mktemp "$folder/.tinyshakespeare.XXXXXX")" || fail "cannot write in $folder"
trap 'rm -f "$temporary"' EXIT

if [[ -n "${MAKEMOE_DATA_DIR:-}" && -f "$MAKEMOE_DATA_DIR/tinyshakespeare.txt" ]]; then
  from="$MAKEMOE_DATA_DIR/tinyshakespeare.txt"
  cat "$from" >"$temporary" || fail "cannot copy $from"
else
  from="$url"
  download "$temporary" ||
    fail "could not download $url; check the network, or set MAKEMOE_DATA_DIR to a folder that" \
      "holds tinyshakespeare.txt."
fi

got="$(digest "$temporary")"
if [[ "$got" != "$sha256" ]]; then
  fail "$from: sha256 is $got, expected $sha256; nothing was written. Get the file anew."
fi
chmod 644 "$temporary"
mv -f "$temporary" "$target"
trap - EXIT
echo "data/tinyshakespeare.txt: from $from" >&2
