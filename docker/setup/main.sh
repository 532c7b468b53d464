# shellcheck shell=sh
# The order of it all: look, show, ask, do. A platform has sourced everything and calls `main`.

usage() {
    say "usage: $0 [--env FILE] [--dry-run] [--yes]     set up, or follow a changed .env"
    say "       $0 [--env FILE] --uninstall [--yes]     undo it; users' data and backups stay"
    say "       $0 --example                            a .env to begin with"
    say "It can be called as often as one likes. It ends with"
    say "  0  when all is done, or nothing is to do"
    say "  1  when something has failed                   5  when a port is taken"
    say "  2  when it is called wrongly                   6  when the certificate is wrong"
    say "  3  when the .env is wrong                      7  when something has to be installed"
    say "  4  when the machine is not fit for it          8  when the server does not answer"
}

main() {
    ENV_FILE=${DEFAULT_ENV:-$ETC/.env}
    MODE=install
    ASK=yes
    ONLY_SHOW=no
    while [ $# -gt 0 ]; do
        case $1 in
        --env)
            [ $# -ge 2 ] || fail "$EXIT_USAGE" "--env wants a file"
            ENV_FILE=$2
            shift
            ;;
        --dry-run) ONLY_SHOW=yes ;;
        --yes) ASK=no ;;
        --uninstall) MODE=uninstall ;;
        --example) MODE=example ;;
        --help | -h) MODE=help ;;
        *)
            usage >&2
            fail "$EXIT_USAGE" "$1 is not known"
            ;;
        esac
        shift
    done
    case $MODE in
    help) usage ;;
    example) print_example ;;
    *)
        [ "$(id -u)" = 0 ] || fail "$EXIT_USAGE" "only root can do that"
        take_turn
        make_work_directory
        load_settings "$ENV_FILE"
        "$MODE"
        ;;
    esac
}

# take_turn: two that set up at once would undo each other's work. The kernel holds the lock, so a
# run that was killed or lost its power leaves none behind.
take_turn() {
    has_command flock || return 0
    mkdir -p "$ROOT/var/run"
    exec 9>"$ROOT/var/run/hearth-setup.lock"
    flock -n 9 || fail "$EXIT_FAILED" "another run of the set-up is under way" \
        "wait until it has ended, and call it again"
}

install() {
    look
    DRY_RUN=yes
    say "what is to do:"
    steps
    if [ "$CHANGES" = 0 ] && [ ! -e "$ROOT$STATE/pending" ]; then
        say "  nothing"
        end_of_kept
        check_health
        return 0
    fi
    [ "$ONLY_SHOW" = no ] || return 0
    ask
    DRY_RUN=no
    CHANGES=0
    TO_RESTART=' '
    KEPT=''
    say "doing it:"
    begin
    steps
    finish
}

# look: everything that can be found out without changing anything.
look() {
    find_architecture
    find_runtime
    check_memory
    check_disk
    check_clock
    check_ports
    check_certificate
    check_archives
}

# steps: all that changes something, in an order in which each finds what it needs. They are gone
# through twice: once to show what they would do, once to do it.
steps() {
    make_directory "$ETC" 0755 0:0
    make_directory "$STATE" 0700 0:0
    install_packages
    make_directory "$DATA" 0755 0:0
    make_directory "$DATA/data" 0700 "$CONTAINER_USER"
    derive
    configure_hearth
    ! is_on "$CALLS" || configure_livekit
    configure_nginx
    install_containers
    configure_run
    platform_firewall
    [ "$CERTIFICATE" != acme ] || platform_request_certificate
    plan_renewal
    platform_service
}

# begin: from here on an interruption leaves a mark, and the next run starts everything anew.
begin() {
    mkdir -p "$ROOT$STATE"
    if [ -e "$ROOT$STATE/pending" ]; then
        say "  the last run was interrupted: everything is started anew"
        TO_RESTART=' hearth livekit nginx '
    fi
    : >"$ROOT$STATE/pending"
    note_ports
}

finish() {
    platform_start
    check_health
    : >"$ROOT$STATE/complete"
    sync
    rm -f "$ROOT$STATE/pending"
    end_of_kept
    say "done: https://$HOST$HTTPS_SUFFIX"
    if ! has_certificate; then
        say "The certificate is on its way; nginx takes it as soon as it is there."
    fi
    say "An account for yourself: $ETC/run in hearth hearth user add NAME --admin"
}

end_of_kept() {
    for file in $KEPT; do
        warn "$file was changed by hand and is kept; what it would be now is in $file.new"
    done
}

ask() {
    [ "$ASK" = yes ] || return 0
    [ -t 0 ] || fail "$EXIT_USAGE" "nobody is there to be asked: call it with --yes"
    printf 'Go on? [y/N] '
    read -r answer
    case $answer in
    y | Y | yes) ;;
    *) fail "$EXIT_USAGE" "nothing was changed" ;;
    esac
}

# check_health: wait until hearth answers.
check_health() {
    tries=0
    until platform_fetch "http://127.0.0.1:$HEARTH_PORT/health"; do
        tries=$((tries + 1))
        [ "$tries" -lt "${HEALTH_TRIES:-60}" ] || fail "$EXIT_SILENT" \
            "hearth does not answer at port $HEARTH_PORT" "$(platform_log_advice)"
        sleep 1
    done
    say "hearth answers at port $HEARTH_PORT"
}

# install_packages: what is missing of what we need.
install_packages() {
    missing=''
    for package in $(platform_packages); do
        platform_has_package "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    doing "install$missing" || return 0
    # shellcheck disable=SC2086 # several words
    platform_install $missing || fail "$EXIT_RUNTIME" "these packages could not be installed:$missing" \
        "$(platform_install_advice "${missing# }")"
    # shellcheck disable=SC2086
    printf '%s\n' $missing >>"$ROOT$STATE/packages"
    find_runtime
}

# uninstall: the way back. Whatever users have made stays, and so does what the operator changed.
uninstall() {
    find_architecture
    find_runtime
    DRY_RUN=yes
    say "what is to do:"
    removing
    if [ "$CHANGES" = 0 ]; then
        say "  nothing"
        return 0
    fi
    [ "$ONLY_SHOW" = no ] || return 0
    ask
    DRY_RUN=no
    say "doing it:"
    removing
    say "done. What is left: $DATA (users' data, backups) and what was changed by hand in $ETC."
    if [ -s "$ROOT$DATA/backups/packages" ]; then
        say "These packages were installed and may be of use to others:" \
            "$(tr '\n' ' ' <"$ROOT$DATA/backups/packages")"
    fi
}

removing() {
    platform_remove
    if [ -d "$ROOT$STATE" ] && doing "back up $ETC to $DATA/backups"; then
        mkdir -p "$ROOT$DATA/backups"
        [ ! -f "$ROOT$STATE/packages" ] || cp "$ROOT$STATE/packages" "$ROOT$DATA/backups/packages"
        back_up
    fi
    files_of_ours >"$WORK/ours"
    while read -r file; do
        remove_ours "$file"
    done <"$WORK/ours"
    if [ -e "$ROOT$ETC/config/livekit.secret" ] && doing "remove $ETC/config/livekit.secret"; then
        rm -f "$ROOT$ETC/config/livekit.secret"
    fi
    for directory in "$DATA/bundles" "$STATE"; do
        [ -d "$ROOT$directory" ] || continue
        doing "remove $directory" || continue
        rm -rf "$ROOT${directory:?}"
    done
    if [ "$DRY_RUN" = no ]; then
        rmdir "$ROOT$ETC/config" "$ROOT$ETC/livekit" "$ROOT$ETC/nginx" "$ROOT$ETC/bundles" 2>/dev/null ||
            true
    fi
}
