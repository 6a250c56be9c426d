#!/usr/bin/env bash
# Draws rows of `make bench` (standard input, with tabs) as an SVG (standard output): each time beside its floors.
set -euo pipefail

awk -F '\t' '
function milliseconds(text, name,    at) {
    if (name == "") return text + 0
    at = match(text, name " [0-9.]+ ms")
    return at ? substr(text, at + length(name) + 1, RLENGTH) + 0 : 0
}
function escape(text) { gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); return text }
function bar(y, value, colour, words) {
    printf "<rect x=\"430\" y=\"%d\" width=\"%.1f\" height=\"11\" fill=\"%s\"/>\n", y, 380 * value / most, colour
    printf "<text x=\"%.1f\" y=\"%d\">%s</text>\n", 435 + 380 * value / most, y + 10, words
}
$2 ~ / ms$/ && $3 ~ /full [0-9.]+ ms/ {
    n++
    what[n] = $1; ours[n] = milliseconds($2, ""); full[n] = milliseconds($3, "full"); bare[n] = milliseconds($3, "bare")
}
END {
    print "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"960\" height=\"" 56 * n + 40 "\" font-family=\"sans-serif\" font-size=\"11\">"
    print "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
    print "<text x=\"10\" y=\"16\">Each group: ours, the full floor, the bare floor. The longest bar of a group is 1.</text>"
    for (i = 1; i <= n; i++) {
        y = 56 * i - 28
        most = ours[i] > full[i] ? ours[i] : full[i]
        if (bare[i] > most) most = bare[i]
        printf "<text x=\"10\" y=\"%d\">%s</text>\n", y + 20, escape(what[i])
        bar(y, ours[i], "#1f6feb", sprintf("ours %.1f ms", ours[i]))
        bar(y + 13, full[i], "#8b949e", sprintf("full %.1f ms, ratio %.2f", full[i], ours[i] / full[i]))
        if (bare[i]) bar(y + 26, bare[i], "#d0d7de", sprintf("bare %.1f ms, ratio %.2f", bare[i], ours[i] / bare[i]))
    }
    print "</svg>"
}'
