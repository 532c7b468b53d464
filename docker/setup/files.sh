# shellcheck shell=sh
# Files that the set-up writes: never over what the operator has changed.
#
# The state directory remembers the SHA-256 of every file that was written. A file with another one
# was edited, and what would be written is put beside it, as FILE.new. A sum is noted before its
# file is written, so that an interruption between the two leaves nothing that looks edited.

# ROOT is before every path: empty, or a directory for trying things out.
ROOT=${HEARTH_SETUP_ROOT:-}
ETC=/etc/hearth
STATE=$ETC/.setup
KEPT=''

make_work_directory() {
    WORK=$(mktemp -d)
    trap 'rm -rf "$WORK"' EXIT
    trap 'exit 130' HUP INT TERM
}

sum_of() {
    sha256sum "$1" | cut -d ' ' -f 1
}

is_ours() {
    [ -f "$ROOT$STATE/sums" ] && grep -qxF "$(sum_of "$ROOT$1")  $1" "$ROOT$STATE/sums"
}

# remember SUM FILE / settle SUM FILE: one more sum that is ours; then the only one.
remember() {
    mkdir -p "$ROOT$STATE"
    echo "$1  $2" >>"$ROOT$STATE/sums"
}

settle() {
    { forget_in "$2" && echo "$1  $2"; } >"$WORK/sums"
    mv "$WORK/sums" "$ROOT$STATE/sums.part"
    move_in "$STATE/sums"
}

# move_in FILE: FILE.part, a file or a directory, takes its place. What is in it is on the disk
# before: file systems may write names first, and after a power cut there is an empty file.
move_in() {
    sync
    mv "$ROOT$1.part" "$ROOT$1"
}

forget_in() {
    awk -v file="$1" 'substr($0, 67) != file' "$ROOT$STATE/sums" 2>/dev/null || true
}

# make_directory DIRECTORY MODE OWNER
make_directory() {
    if [ ! -d "$ROOT$1" ]; then
        doing "make the directory $1" || return 0
        mkdir -p "$ROOT$1"
    fi
    [ "$DRY_RUN" = yes ] || set_access "$@"
}

# set_access FILE MODE OWNER
set_access() {
    chown "$3" "$ROOT$1"
    chmod "$2" "$ROOT$1"
}

# put FILE MODE OWNER: standard input (never a pipe, whose end would forget the changes) becomes
# the file. PUT says what was done: written, same or kept.
put() {
    cat >"$WORK/put"
    sum=$(sum_of "$WORK/put")
    if [ ! -e "$ROOT$1" ]; then
        PUT=written
        doing "write $1" || return 0
        place "$sum" "$@"
    elif [ "$sum" = "$(sum_of "$ROOT$1")" ]; then
        PUT=same
        take_over "$sum" "$1"
        [ "$DRY_RUN" = yes ] || set_access "$@"
    elif is_ours "$1"; then
        PUT=written
        doing "replace $1" || return 0
        back_up
        place "$sum" "$@"
    else
        PUT=kept
        keep_beside "$sum" "$@"
    fi
}

# place SUM FILE MODE OWNER: all of the file or nothing is there at any moment.
place() {
    remember "$1" "$2"
    (umask 077 && cp "$WORK/put" "$ROOT$2.part")
    set_access "$2.part" "$3" "$4"
    move_in "$2"
    settle "$1" "$2"
}

# take_over SUM FILE: a file that the operator has made what it would be is no longer an edited one.
take_over() {
    if is_ours "$2" && [ ! -e "$ROOT$2.new" ]; then
        return 0
    fi
    doing "take $2 for what was written" || return 0
    remember "$1" "$2"
    settle "$1" "$2"
    rm -f "$ROOT$2.new"
}

keep_beside() {
    KEPT="$KEPT $2"
    if [ -f "$ROOT$2.new" ] && [ "$1" = "$(sum_of "$ROOT$2.new")" ]; then
        return 0
    fi
    doing "keep $2, which was changed by hand, and write $2.new" || return 0
    (umask 077 && cp "$WORK/put" "$ROOT$2.new")
    set_access "$2.new" "$3" "$4"
}

# put_secret FILE OWNER: 256 random bits in hexadecimal, made once.
put_secret() {
    if [ ! -s "$ROOT$1" ]; then
        doing "make the secret $1" || return 0
        (umask 077 && head -c 32 /dev/urandom | sha256sum | cut -d ' ' -f 1 >"$ROOT$1.part")
        set_access "$1.part" 0600 "$2"
        move_in "$1"
    fi
    [ "$DRY_RUN" = yes ] || set_access "$1" 0600 "$2"
}

# back_up: the configuration, once a run, before the first change of what is in use.
BACKED_UP=no
BACKUPS_KEPT=5
back_up() {
    [ "$BACKED_UP" = no ] || return 0
    [ -e "$ROOT$STATE/complete" ] || [ "$MODE" = uninstall ] || return 0
    BACKED_UP=yes
    directory=$DATA/backups
    mkdir -p "$ROOT$directory"
    set_access "$directory" 0700 0:0
    archive=$directory/setup-$(date -u +%Y%m%d-%H%M%S).tar.gz
    (umask 077 && tar -czf "$ROOT$archive.part" -C "$ROOT/" "${ETC#/}")
    move_in "$archive"
    say "  backed up $ETC to $archive"
    # shellcheck disable=SC2010 # the names are ours
    ls -1 "$ROOT$directory" | grep '^setup-.*\.tar\.gz$' | sort -r | sed "1,${BACKUPS_KEPT}d" |
        while read -r old; do
            rm -f "$ROOT$directory/$old"
        done
}

# remove_ours FILE: remove it unless the operator has changed it.
remove_ours() {
    [ -e "$ROOT$1" ] || return 0
    if is_ours "$1"; then
        doing "remove $1" || return 0
        rm -f "$ROOT$1" "$ROOT$1.new"
    else
        say "  keep $1, which was changed by hand"
        [ "$DRY_RUN" = yes ] || rm -f "$ROOT$1.new"
    fi
}

# files_of_ours: every file that was written, the newest knowledge of it.
files_of_ours() {
    [ ! -f "$ROOT$STATE/sums" ] || cut -c 67- "$ROOT$STATE/sums" | sort -u
}
