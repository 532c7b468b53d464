#!/bin/sh
# render.sh TEMPLATE: the template on standard output, with values from the environment.
#
#   @NAME@          the variable NAME; it is an error if there is none
#   #if NAME        the lines up to #else or #endif stay if NAME is not empty, "no" or "0";
#   #else, #endif   these stand on lines of their own, and may be nested
set -eu

[ $# -eq 1 ] || { echo "usage: render.sh TEMPLATE" >&2; exit 2; }

exec awk '
function complain(text) {
    print FILENAME ":" FNR ": " text > "/dev/stderr"
    failed = 1
    exit 1
}
function holds(name) {
    return (name in ENVIRON) && ENVIRON[name] != "" && ENVIRON[name] != "no" && ENVIRON[name] != "0"
}
BEGIN { depth = 0; shown[0] = 1 }
$1 == "#if" {
    depth++
    taken[depth] = holds($2)
    shown[depth] = shown[depth - 1] && taken[depth]
    next
}
$1 == "#else" {
    if (depth == 0) complain("#else without #if")
    shown[depth] = shown[depth - 1] && !taken[depth]
    next
}
$1 == "#endif" {
    if (depth == 0) complain("#endif without #if")
    depth--
    next
}
shown[depth] {
    line = $0
    out = ""
    while (match(line, /@[A-Z][A-Z0-9_]*@/)) {
        name = substr(line, RSTART + 1, RLENGTH - 2)
        if (!(name in ENVIRON)) complain(name " is not set")
        out = out substr(line, 1, RSTART - 1) ENVIRON[name]
        line = substr(line, RSTART + RLENGTH)
    }
    print out line
}
END { if (!failed && depth > 0) complain("#if without #endif") }
' "$1"
