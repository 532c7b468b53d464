# shellcheck shell=sh
# What the set-up says, and how it ends.

EXIT_FAILED=1      # something that was done has failed; the last lines say what
EXIT_USAGE=2       # the command line is wrong
EXIT_SETTINGS=3    # the .env is wrong
EXIT_MACHINE=4     # too little memory or disk, a wrong clock, another kind of processor
EXIT_PORT=5        # a port is taken by another program
EXIT_CERTIFICATE=6 # the certificate is for other names, out of date or has another key
EXIT_RUNTIME=7     # a package, a container runtime or a bundle is missing
EXIT_SILENT=8      # everything is there and started, but the server does not answer

DRY_RUN=no
CHANGES=0

say() {
    printf '%s\n' "$*"
}

warn() {
    printf 'warning: %s\n' "$*" >&2
}

# fail CODE TEXT…: the end; each further text is a line of advice.
fail() {
    code=$1
    shift
    printf 'error: %s\n' "$1" >&2
    shift
    for advice in "$@"; do
        printf '       %s\n' "$advice" >&2
    done
    exit "$code"
}

# doing TEXT: note a change before it is made. Is false in a dry run, which makes none.
doing() {
    CHANGES=$((CHANGES + 1))
    if [ "$DRY_RUN" = yes ]; then
        say "  would $*"
        return 1
    fi
    say "  $*"
}

is_on() {
    case $1 in
    '' | no | 0) return 1 ;;
    esac
}

has_command() {
    command -v "$1" >/dev/null 2>&1
}
