# shellcheck shell=sh
# The containers: which runtime, which bundles or images, and how each is run.

# find_runtime: RUNTIME_COMMAND, the program that RUNTIME stands for; empty if it is to be installed.
find_runtime() {
    RUNTIME_COMMAND=''
    if [ "$RUNTIME" != auto ]; then
        ! has_command "$RUNTIME" || RUNTIME_COMMAND=$RUNTIME
        return 0
    fi
    for candidate in crun uxc runc podman docker; do
        if has_command "$candidate"; then
            RUNTIME_COMMAND=$candidate
            return 0
        fi
    done
    RUNTIME=crun
}

# has_daemon: whether the runtime is one that takes memory by itself.
has_daemon() {
    case ${RUNTIME_COMMAND:-$RUNTIME} in
    docker | podman) return 0 ;;
    esac
    return 1
}

wants_bundles() {
    ! has_daemon
}

container_names() {
    if [ -n "$DATABASE_URL" ]; then say hearth-lean; else say hearth; fi
    ! is_on "$CALLS" || say livekit
}

# role_of IMAGE: the container's name and the directory of its configuration.
role_of() {
    say "${1%-lean}"
}

archive_ending() {
    if wants_bundles; then say bundle.tar.gz; else say oci.tar; fi
}

# archive_of IMAGE: the newest downloaded archive of it, below IMAGES.
archive_of() {
    ending=$(archive_ending)
    # shellcheck disable=SC2010 # names of our own, without spaces
    ls -1 "$ROOT$IMAGES" 2>/dev/null | grep -E "^$1-[0-9][0-9A-Za-z.+]*-$ARCHITECTURE\.$ending\$" |
        awk '{
            split($0, part, /-[0-9]/)
            count = split(substr($0, length(part[1]) + 2), number, /[^0-9]+/)
            key = sprintf("%06d%06d%06d", number[1], number[2], number[3])
            if (key >= best) { best = key; newest = $0 }
        }
        END { if (newest) print newest }'
}

# check_archives: each container has an archive that arrived whole, or was unpacked before.
check_archives() {
    for image in $(container_names); do
        archive=$(archive_of "$image")
        if [ -n "$archive" ]; then
            check_sum "$archive"
        elif ! is_installed "$image"; then
            fail "$EXIT_RUNTIME" "there is no archive of $image for $ARCHITECTURE in $IMAGES" \
                "put $image-VERSION-$ARCHITECTURE.$(archive_ending) and SHA256SUMS there"
        fi
    done
}

# sum_in_list ARCHIVE: what SHA256SUMS says of it.
sum_in_list() {
    awk -v name="$1" '$2 == name || $2 == "*" name { print $1 }' "$ROOT$IMAGES/SHA256SUMS" 2>/dev/null || true
}

check_sum() {
    wanted=$(sum_in_list "$1")
    [ -n "$wanted" ] || fail "$EXIT_RUNTIME" "$IMAGES/SHA256SUMS says nothing of $1" \
        "download it with the archives"
    # Looking at tens of megabytes takes a router some seconds: once a file.
    ! is_unpacked "$1" || return 0
    [ "$(sum_of "$ROOT$IMAGES/$1")" = "$wanted" ] || fail "$EXIT_RUNTIME" \
        "$IMAGES/$1 is not what SHA256SUMS says" "it did not arrive whole: download it again"
}

# unpacked_name ARCHIVE: hearth-0.1.0-arm64 for hearth-0.1.0-arm64.bundle.tar.gz
unpacked_name() {
    say "${1%."$(archive_ending)"}"
}

is_unpacked() {
    mark=$ROOT$DATA/bundles/$(unpacked_name "$1").sha256
    [ -f "$mark" ] && [ "$(cat "$mark")" = "$(sum_in_list "$1")" ]
}

is_installed() {
    if wants_bundles; then
        [ -e "$ROOT$DATA/bundles/$(role_of "$1")/shipped.json" ]
    else
        [ -f "$ROOT$DATA/bundles/$(role_of "$1").loaded" ]
    fi
}

install_containers() {
    make_directory "$DATA/bundles" 0755 0:0
    ! wants_bundles || make_directory "$ETC/bundles" 0755 0:0
    for image in $(container_names); do
        archive=$(archive_of "$image")
        if [ -n "$archive" ] && ! is_unpacked "$archive"; then
            install_archive "$image" "$archive"
        fi
        ! wants_bundles || adapt_bundle "$(role_of "$image")"
    done
}

install_archive() {
    name=$(unpacked_name "$2")
    if wants_bundles; then
        doing "unpack $IMAGES/$2 to $DATA/bundles/$name" || return 0
        back_up_database "$1"
        rm -rf "$ROOT$DATA/bundles/$name.part"
        mkdir -p "$ROOT$DATA/bundles/$name.part"
        tar -xzf "$ROOT$IMAGES/$2" -C "$ROOT$DATA/bundles/$name.part" ||
            fail "$EXIT_FAILED" "$IMAGES/$2 could not be unpacked"
        # What is changed for this machine, or by hand, outlives the bundle.
        mv "$ROOT$DATA/bundles/$name.part/config.json" "$ROOT$DATA/bundles/$name.part/shipped.json"
        ln -s "$ETC/bundles/$(role_of "$1").json" "$ROOT$DATA/bundles/$name.part/config.json"
        rm -rf "$ROOT${DATA:?}/bundles/${name:?}"
        move_in "$DATA/bundles/$name"
        remove_old_bundles "$(role_of "$1")" "$name"
        switch_to_bundle "$(role_of "$1")" "$name"
    else
        doing "load $2 into $RUNTIME_COMMAND" || return 0
        back_up_database "$1"
        "$RUNTIME_COMMAND" load -q -i "$ROOT$IMAGES/$2" || fail "$EXIT_FAILED" "$RUNTIME_COMMAND did not take $2"
        say "$name" >"$ROOT$DATA/bundles/$(role_of "$1").loaded.part"
        move_in "$DATA/bundles/$(role_of "$1").loaded"
    fi
    sum_in_list "$2" >"$ROOT$DATA/bundles/$name.sha256"
    PUT=written
    changed "$(role_of "$1")"
}

# switch_to_bundle ROLE NAME: the link that the service runs.
switch_to_bundle() {
    rm -f "$ROOT$DATA/bundles/$1"
    ln -s "$2" "$ROOT$DATA/bundles/$1"
}

# remove_old_bundles ROLE NAME: all but the new one and the one in use, to go back to.
remove_old_bundles() {
    current=$(readlink "$ROOT$DATA/bundles/$1" || true)
    for old in "$ROOT$DATA/bundles/$1"-*; do
        case ${old##*/} in
        "$2" | "$2".* | "$current" | "$current".*) ;;
        *) rm -rf "$old" ;;
        esac
    done
}

# Go collects its garbage sooner, and samples nothing. The limit is not for calls of a few: near it
# collecting takes half of the processor.
LIVEKIT_ENVIRONMENT='"GOGC=40", "GOMEMLIMIT=100MiB", "GODEBUG=memprofilerate=0",'

# adapt_bundle ROLE: how the bundle is run, with this machine's directories in place of its own.
adapt_bundle() {
    shipped=$ROOT$DATA/bundles/$1/shipped.json
    if [ ! -f "$shipped" ]; then
        [ "$DRY_RUN" = yes ] || fail "$EXIT_RUNTIME" "there is no $DATA/bundles/$1/shipped.json"
        return 0
    fi
    own=$ETC/config
    [ "$1" = hearth ] || own=$ETC/$1
    environment=''
    [ "$1" != livekit ] || environment=$LIVEKIT_ENVIRONMENT
    sed "s|\"/srv/[a-z-]*/data\"|\"$DATA/data\"|; s|\"/srv/[a-z-]*/config\"|\"$own\"|
        s|\"env\": \[\$|&$environment|" "$shipped" >"$WORK/rendered"
    put "$ETC/bundles/$1.json" 0644 0:0 <"$WORK/rendered"
    changed "$1"
}

# back_up_database IMAGE: before a newer hearth changes it, where one is in use.
back_up_database() {
    case $1 in
    hearth*) ;;
    *) return 0 ;;
    esac
    back_up
    if service_is_running && [ -x "$ROOT$ETC/run" ]; then
        mkdir -p "$ROOT$DATA/data/backups"
        set_access "$DATA/data/backups" 0700 "$CONTAINER_USER"
        "$ROOT$ETC/run" in hearth hearth backup /data/backups --media index --keep 3 ||
            fail "$EXIT_FAILED" "the database could not be backed up, so nothing was changed" \
                "try it by hand: $ETC/run in hearth hearth backup /data/backups --media index"
    fi
}

# configure_run: the script by which services start a container and people look into one.
configure_run() {
    RUNTIME_NAME=${RUNTIME_COMMAND:-$RUNTIME}
    IS_BUNDLE=no IS_UXC=no IS_DAEMON=no
    case $RUNTIME_NAME in
    uxc) IS_UXC=yes ;;
    docker | podman) IS_DAEMON=yes ;;
    *) IS_BUNDLE=yes ;;
    esac
    HEARTH_IMAGE=$(loaded_image hearth)
    LIVEKIT_IMAGE=$(loaded_image livekit)
    export RUNTIME_NAME IS_BUNDLE IS_UXC IS_DAEMON HEARTH_IMAGE LIVEKIT_IMAGE CONTAINER_USER ETC
    render "$SETUP/templates/run"
    put "$ETC/run" 0755 0:0 <"$WORK/rendered"
    changed hearth
    changed livekit
}

# loaded_image ROLE: hearth:0.1.0 for an archive hearth-0.1.0-arm64.
loaded_image() {
    name=$(cat "$ROOT$DATA/bundles/$1.loaded" 2>/dev/null || true)
    name=${name%-*}
    say "${name%-*}:${name##*-}"
}
