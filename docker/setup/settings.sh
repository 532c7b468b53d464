# shellcheck shell=sh
# The .env: what it may hold, and what is wrong with it.

# One line a setting: name, kind, default, meaning. A default may refer to settings above it.
# A platform appends its own (platform_settings).
settings_table() {
    cat <<'END'
DOMAIN|name||The server's name: the part of user IDs after the colon. It can never be changed.
HOST|name|$DOMAIN|The name under which this machine is reached from outside.
SERVE_DOMAIN|switch|no|Where HOST is another name: DOMAIN leads here too, and its .well-known files are served here.
DATA|directory|/srv/hearth|Where everything is kept that grows: the database, media, bundles. Not on a router's own flash.
RUNTIME|choice:auto,crun,uxc,runc,podman,docker|auto|What runs the containers; auto is the first of these that is installed.
IMAGES|directory|$DATA/images|The directory with the downloaded bundles (or images, for podman and docker) and their SHA256SUMS.
HTTPS_PORT|port|443|The port for clients, and for other servers.
FEDERATION_PORT|port0|8448|The port at which other servers look where there is no .well-known file; 0 is none.
HTTP_PORT|port0|80|The port that leads to HTTPS and serves what certificate authorities ask for; 0 is none.
HEARTH_PORT|port|8008|The port of hearth on this machine, behind nginx.
CERTIFICATE|certificate|acme|acme obtains a certificate; otherwise the file with the certificate and its chain.
CERTIFICATE_KEY|path||The file with the private key, where CERTIFICATE is a file.
ACME_EMAIL|email||Whom the certificate authority writes to. Needed for acme.
ACME_VALIDATION|choice:webroot,dns|webroot|How the authority looks: at HTTP_PORT from outside, or in the DNS.
ACME_DNS|word||For dns: the name of acme.sh's module, for instance dns_cf.
ACME_CREDENTIALS|text||For dns: what the module needs, for instance CF_Token=… (several with spaces between).
FEDERATION|switch|yes|Talk to other servers.
CALLS|switch|yes|Group calls: runs a LiveKit server.
ADDRESS|address||The public address for calls, where this machine does not have it itself (it is behind another router).
LIVEKIT_PORT|port|7880|The port of LiveKit on this machine, behind nginx.
LIVEKIT_TCP_PORT|port|7881|The port for calls on networks that let no UDP through.
LIVEKIT_UDP_PORT|port|7882|The port for calls.
TURN|switch|no|Relay calls for people behind narrow firewalls, by LiveKit.
TURN_PORT|port|3478|The port of the relay.
TURN_FIRST_RELAY_PORT|port|50000|The first port that relayed calls come from.
TURN_LAST_RELAY_PORT|port|50100|The last one.
REGISTRATION|switch|no|Let people register themselves with a token that an administrator gives out.
MAX_UPLOAD_MB|number|50|The largest file that may be uploaded, in MiB.
REMOTE_MEDIA_MB|number|512|How much other servers' files may take here, in MiB.
SMALL_MEMORY|choice:auto,yes,no|auto|Spare memory (hearth's profile.small_memory); auto does where there is 1 GB or less.
LOW_BANDWIDTH|switch|no|Spare a slow uplink (docs/low-bandwidth.md).
ADMIN_API|switch|yes|Serve the administration API, to the networks at home only.
METRICS|switch|no|Serve figures for Prometheus, to this machine only.
DATABASE_URL|url||A PostgreSQL elsewhere. Empty: hearth keeps its own below DATA.
END
    platform_settings
}

setting_names() {
    settings_table | cut -d '|' -f 1
}

# print_example: a .env with every setting and its explanation, defaults as comments.
print_example() {
    say "# Settings of the set-up. A line is NAME=value; what is left out has the value shown."
    settings_table | while IFS='|' read -r name kind default meaning; do
        say ""
        say "# $meaning"
        case $kind in
        switch) say "# yes or no." ;;
        choice:*) say "# One of: $(printf %s "${kind#choice:}" | sed 's/,/, /g')." ;;
        esac
        if [ "$name" = DOMAIN ]; then
            say "DOMAIN=example.org"
        else
            say "#$name=$default"
        fi
    done
}

SETTINGS_WRONG=no

# wrong LINE TEXT: a complaint about the .env; all of them are told before the end.
wrong() {
    SETTINGS_WRONG=yes
    if [ "$1" = - ]; then
        printf 'error: %s: %s\n' "$SETTINGS_FILE" "$2" >&2
    else
        printf 'error: %s, line %s: %s\n' "$SETTINGS_FILE" "$1" "$2" >&2
    fi
}

# load_settings FILE: every setting as a variable of its name.
load_settings() {
    SETTINGS_FILE=$1
    [ -r "$SETTINGS_FILE" ] || fail "$EXIT_SETTINGS" "there is no file $SETTINGS_FILE" \
        "make one with: $0 --example > $SETTINGS_FILE" "and write your domain into it"
    for name in $(setting_names); do
        unset "$name"
    done
    SEEN=' '
    line_number=0
    while IFS= read -r line || [ -n "$line" ]; do
        line_number=$((line_number + 1))
        read_line "$line_number" "$line"
    done <"$SETTINGS_FILE"
    fill_defaults
    check_together
    [ "$SETTINGS_WRONG" = no ] || exit "$EXIT_SETTINGS"
    warn_of_readers
}

# Two settings are secrets.
warn_of_readers() {
    [ -n "$ACME_CREDENTIALS$DATABASE_URL" ] || return 0
    # shellcheck disable=SC2012 # there is no stat
    case $(ls -ld "$SETTINGS_FILE") in
    -???------*) ;;
    *) warn "$SETTINGS_FILE has a secret and can be read by others: chmod 600 $SETTINGS_FILE" ;;
    esac
}

read_line() {
    # The editors of some systems end lines in another way.
    text=$(printf '%s' "$2" | tr -d '\r' | sed 's/^[[:space:]]*//; s/[[:space:]][[:space:]]*#.*$//; s/[[:space:]]*$//')
    case $text in
    '' | '#'*) return ;;
    [A-Z]*=*) ;;
    *)
        wrong "$1" "this is not NAME=value: $text"
        return
        ;;
    esac
    name=${text%%=*}
    value=${text#*=}
    case $value in
    '"'*'"') value=${value#?} value=${value%?} ;;
    "'"*"'") value=${value#?} value=${value%?} ;;
    esac
    kind=$(settings_table | awk -F '|' -v name="$name" '$1 == name { print $2 }')
    if [ -z "$kind" ]; then
        wrong "$1" "there is no setting $name; $0 --example shows all"
        return
    fi
    case $SEEN in
    *" $name "*) wrong "$1" "$name is set twice" ;;
    esac
    SEEN="$SEEN$name "
    if [ -n "$value" ]; then
        complaint=$(complaint_about "$kind" "$value")
        [ -z "$complaint" ] || wrong "$1" "$name: $complaint"
    fi
    # The name is one of our own, and the value is not looked at again.
    eval "$name=\$value"
}

# complaint_about KIND VALUE: what is wrong with the value, or nothing.
complaint_about() {
    # Values go into shell, TOML, YAML and nginx files: nothing that means something there.
    if printf '%s' "$2" | grep -q '[^A-Za-z0-9 .,:/=@%+_?&~!*^-]'; then
        say "'$2' has characters that cannot be here"
        return
    fi
    case $1 in
    name) is_host_name "$2" || say "'$2' is not a host name such as matrix.example.org" ;;
    port) is_between 1 65535 "$2" || say "'$2' is not a port (1 to 65535)" ;;
    port0) is_between 0 65535 "$2" || say "'$2' is not a port (1 to 65535, or 0 for none)" ;;
    number) is_between 1 1000000 "$2" || say "'$2' is not a whole number of at least 1" ;;
    switch)
        case $2 in
        yes | no) ;;
        *) say "'$2' is neither yes nor no" ;;
        esac
        ;;
    choice:*)
        case ",${1#choice:}," in
        *",$2,"*) ;;
        *) say "'$2' is none of $(printf %s "${1#choice:}" | sed 's/,/, /g')" ;;
        esac
        ;;
    directory | path)
        case $2 in
        *[!A-Za-z0-9/._+-]* | *..*) say "'$2' has characters that a path here cannot have" ;;
        /?*) ;;
        *) say "'$2' does not begin with /" ;;
        esac
        ;;
    profiles)
        case $2 in
        *[!a-z,]*) say "'$2' is not a list of profiles with commas between" ;;
        esac
        ;;
    certificate)
        [ "$2" = acme ] || complaint_about path "$2"
        ;;
    address) is_address "$2" || say "'$2' is not an IP address" ;;
    email)
        case $2 in
        *[!A-Za-z0-9@.+_-]* | *@*@* | @* | *@) say "'$2' is not an e-mail address" ;;
        *@*.*) ;;
        *) say "'$2' is not an e-mail address" ;;
        esac
        ;;
    word)
        case $2 in
        *[!A-Za-z0-9_-]*) say "'$2' is not a name" ;;
        esac
        ;;
    url)
        case $2 in
        *' '*) say "a space in a URL is written as %20" ;;
        postgresql://* | postgres://*) ;;
        *) say "the URL does not begin with postgresql://" ;;
        esac
        ;;
    esac
}

is_between() {
    case $3 in
    '' | *[!0-9]* | ???????* | 0?*) return 1 ;;
    esac
    [ "$3" -ge "$1" ] && [ "$3" -le "$2" ]
}

is_host_name() {
    printf '%s\n' "$1" | grep -qE '^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$'
}

is_address() {
    case $1 in
    *:*) printf '%s\n' "$1" | grep -qE '^[0-9a-fA-F:]{2,39}$' ;;
    *) printf '%s\n' "$1" | awk -F . '
        NF != 4 { exit 1 }
        { for (i = 1; i <= 4; i++) if ($i !~ /^[0-9][0-9]?[0-9]?$/ || $i > 255) exit 1 }' ;;
    esac
}

fill_defaults() {
    for name in $(setting_names); do
        eval "value=\${$name-}"
        [ -z "$value" ] || continue
        default=$(settings_table | awk -F '|' -v name="$name" '$1 == name { print $3 }')
        # shellcheck disable=SC2016 # names of settings, as the table has them
        case $default in
        '$DOMAIN') default=${DOMAIN-} ;;
        '$DATA/'*) default=$DATA/${default#??????} ;;
        esac
        eval "$name=\$default"
    done
}

# What can only be said of several settings together.
check_together() {
    [ -n "$DOMAIN" ] || wrong - "DOMAIN is missing: the part of user IDs after the colon"
    if [ "$CERTIFICATE" = acme ]; then
        [ -n "$ACME_EMAIL" ] || wrong - "ACME_EMAIL is missing: certificate authorities ask for it"
        if [ "$ACME_VALIDATION" = dns ]; then
            [ -n "$ACME_DNS" ] || wrong - "ACME_DNS is missing: ACME_VALIDATION is dns"
        elif [ "$HTTP_PORT" != 80 ]; then
            wrong - "HTTP_PORT is not 80: certificate authorities ask there; set ACME_VALIDATION=dns"
        fi
    elif [ -z "$CERTIFICATE_KEY" ]; then
        wrong - "CERTIFICATE_KEY is missing: CERTIFICATE is a file"
    fi
    taken=' '
    for name in HTTPS_PORT FEDERATION_PORT HTTP_PORT HEARTH_PORT LIVEKIT_PORT LIVEKIT_TCP_PORT; do
        case $name in
        LIVEKIT*) is_on "$CALLS" || continue ;;
        esac
        eval "value=\$$name"
        [ "$value" != 0 ] || continue
        case $taken in
        *" $value "*) wrong - "$name: port $value has another use already" ;;
        esac
        taken="$taken$value "
    done
    if is_on "$CALLS" && is_on "$TURN"; then
        check_relay
    fi
}

# check_relay: calls and their relay have ports of their own; nothing is known of those that are wrong.
check_relay() {
    for name in LIVEKIT_UDP_PORT TURN_PORT TURN_FIRST_RELAY_PORT TURN_LAST_RELAY_PORT; do
        eval "is_between 1 65535 \"\$$name\"" || return 0
    done
    # shellcheck disable=SC2153 # a setting
    [ "$TURN_PORT" != "$LIVEKIT_UDP_PORT" ] ||
        wrong - "TURN_PORT: port $TURN_PORT has another use already"
    for name in LIVEKIT_UDP_PORT TURN_PORT; do
        eval "value=\$$name"
        ! is_between "$TURN_FIRST_RELAY_PORT" "$TURN_LAST_RELAY_PORT" "$value" ||
            wrong - "$name: port $value is one of those that relayed calls come from"
    done
    if [ "$TURN_LAST_RELAY_PORT" -lt "$TURN_FIRST_RELAY_PORT" ]; then
        wrong - "TURN_LAST_RELAY_PORT is less than TURN_FIRST_RELAY_PORT"
    fi
}
