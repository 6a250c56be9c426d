#!/usr/bin/env bash
# Keeps what is written twice the same: every YAML block of README.md and docs/ that follows a line
# `<!-- FILE -->` is that file, README shows every example, and the rendered manifests are those of the templates. And keeps
# comments narrow, which rustfmt does not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
failed=0

complain() {
    echo "$*" >&2
    failed=1
}

# Writes the blocks of document $1 to $scratch/blocks/, one file per block, "/" in names as "%".
extract() {
    rm -rf "$scratch/blocks"
    mkdir "$scratch/blocks"
    awk -v into="$scratch/blocks/" '
        /^<!-- [^ ]+ -->$/ { name = $2; gsub("/", "%", name); next }
        /^```/ && inside   { close(into name); name = ""; inside = 0; next }
        /^```yaml/ && name { inside = 1; printf "" > (into name); next }
        inside             { print > (into name) }' "$1"
}

for document in README.md docs/*.md docs/*/*.md; do
    [[ -e "$document" ]] || continue
    extract "$document"
    for block in "$scratch"/blocks/*; do
        [[ -e "$block" ]] || continue
        file="$(basename "$block" | tr % /)"
        diff -u "$file" "$block" >&2 || complain "$document: the block of $file is not that file"
        [[ "$document" != README.md ]] || shown+=" $file "
    done
done
for example in examples/*.yaml; do
    [[ "${shown:-}" == *" $example "* ]] || complain "README.md does not show $example"
done

rm -rf "$scratch/blocks"
hack/render-manifests.sh "$scratch"
while IFS= read -r -d "" manifest; do
    file="manifests/${manifest#"$scratch/"}"
    diff -u "$file" "$manifest" >&2 || complain "$file is not what the templates give: make manifests"
done < <(find "$scratch" -name "*.yaml" -print0)

wide=$(LC_ALL=C.UTF-8 grep -rnE --include="*.rs" --exclude-dir=target "^.{101,}$" . | grep -E "^[^:]+:[0-9]+: *//" || true)
[[ -z $wide ]] || complain "comments fit in 100 columns; these do not:"$'\n'"$wide"

exit "$failed"
