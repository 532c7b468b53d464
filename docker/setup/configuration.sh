# shellcheck shell=sh
# The configuration of hearth, LiveKit and nginx, in this order, each from its template.

# The user of the containers; nothing on this machine has that number by itself.
CONTAINER_USER=991:991
SMALL_MEMORY_MB=1024
# shellcheck disable=SC2089 # quotes for a file in YAML
LIVEKIT_NETWORKS='"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"'

# derive: what the templates want and follows from settings and machine. Exported for render.sh.
derive() {
    SERVER_NAMES=$(certificate_names | tr '\n' ' ' | sed 's/ $//')
    HTTPS_SUFFIX=''
    [ "$HTTPS_PORT" = 443 ] || HTTPS_SUFFIX=:$HTTPS_PORT
    FEDERATION_BOOL=$(as_bool "$FEDERATION")
    REGISTRATION_BOOL=$(as_bool "$REGISTRATION")
    TURN_NETWORKS=$LIVEKIT_NETWORKS
    COTURN=${COTURN:-no}
    derive_memory
    derive_places
    derive_nginx
    # shellcheck disable=SC2046,SC2090 # names of variables; quotes for files
    export $(setting_names) SERVER_NAMES HTTPS_SUFFIX FEDERATION_BOOL REGISTRATION_BOOL \
        TURN_NETWORKS COTURN
}

as_bool() {
    if is_on "$1"; then say true; else say false; fi
}

# hearth's profile says what it spares where every megabyte counts; nginx goes along.
derive_memory() {
    SPARES_MEMORY=$SMALL_MEMORY
    if [ "$SMALL_MEMORY" = auto ]; then
        SPARES_MEMORY=no
        [ "$MEMORY_MB" -gt "$SMALL_MEMORY_MB" ] || SPARES_MEMORY=yes
    fi
    PROFILE=no
    if is_on "$SPARES_MEMORY" || is_on "$LOW_BANDWIDTH"; then PROFILE=yes; fi
    NGINX_CONNECTIONS=2048 CONNECTIONS_PER_ADDRESS=400
    if is_on "$SPARES_MEMORY"; then
        NGINX_CONNECTIONS=512 CONNECTIONS_PER_ADDRESS=200
    fi
    # A connection to a client and the one to hearth; and some to spare.
    NGINX_OPEN_FILES=$((NGINX_CONNECTIONS + 512))
    export SPARES_MEMORY PROFILE NGINX_CONNECTIONS CONNECTIONS_PER_ADDRESS NGINX_OPEN_FILES
}

# Containers share the network of the machine: no proxy processes, no address translation for
# calls, and nothing that opens ports past the firewall. A compose file sees it otherwise.
derive_places() {
    HEARTH_DATA=/data
    HEARTH_ADDRESS=127.0.0.1
    HEARTH_UPSTREAM=127.0.0.1:$HEARTH_PORT
    # shellcheck disable=SC2089 # quotes for a file in TOML
    TRUSTED_PROXIES='"127.0.0.1"'
    METRICS_ADDRESS=127.0.0.1
    LIVEKIT_ADDRESS=127.0.0.1
    LIVEKIT_UPSTREAM=127.0.0.1:$LIVEKIT_PORT
    LIVEKIT_SECRET_FILE=/config/livekit.secret
    LIVEKIT_KEY_FILE=/config/livekit.keys
    # shellcheck disable=SC2090
    export HEARTH_DATA HEARTH_ADDRESS HEARTH_UPSTREAM TRUSTED_PROXIES METRICS_ADDRESS
    export LIVEKIT_ADDRESS LIVEKIT_UPSTREAM LIVEKIT_SECRET_FILE LIVEKIT_KEY_FILE
    export CERTIFICATE_PATH CERTIFICATE_KEY_PATH
}

derive_nginx() {
    CLIENT_RATE=100 CLIENT_BURST=1000
    FEDERATION_RATE=100 FEDERATION_BURST=1000
    # What hearth takes of other servers; it looks at the size itself.
    MAX_BODY_MB=16
    # A file of the largest size has its head too.
    MAX_UPLOAD_BODY_MB=$((MAX_UPLOAD_MB + 1))
    NGINX_RUN=/var/run/hearth
    NGINX_WEBROOT=${NGINX_WEBROOT:-/var/run/acme/challenge}
    NGINX_USER=${NGINX_USER-}
    NGINX_HTTP2_DIRECTIVE=no
    nginx_is_newer_than_1_25 && NGINX_HTTP2_DIRECTIVE=yes
    IPV6=no
    [ ! -e "$ROOT/proc/net/if_inet6" ] || IPV6=yes
    export CLIENT_RATE CLIENT_BURST FEDERATION_RATE FEDERATION_BURST MAX_BODY_MB
    export MAX_UPLOAD_BODY_MB NGINX_RUN NGINX_WEBROOT NGINX_USER NGINX_HTTP2_DIRECTIVE IPV6
}

# "http2 on" came with 1.25.1, and the other way of saying it went out of use.
nginx_is_newer_than_1_25() {
    nginx -v 2>&1 | awk -F '[/. ]' '/nginx version/ {
        exit !($4 > 1 || ($4 == 1 && ($5 > 25 || ($5 == 25 && $6 >= 1))))
    }'
}

# render TEMPLATE: into the file that `put` reads from, "$WORK/rendered".
render() {
    sh "$SETUP/render.sh" "$1" >"$WORK/rendered"
}

configure_all() {
    configure_hearth
    ! is_on "$CALLS" || configure_livekit
    configure_nginx
}

configure_hearth() {
    make_directory "$ETC/config" 0750 "0:${CONTAINER_USER#*:}"
    ! is_on "$CALLS" || put_secret "$ETC/config/livekit.secret" "$CONTAINER_USER"
    render "$SETUP/templates/hearth.toml"
    put "$ETC/config/hearth.toml" 0640 "0:${CONTAINER_USER#*:}" <"$WORK/rendered"
    changed hearth
}

configure_livekit() {
    make_directory "$ETC/livekit" 0750 "0:${CONTAINER_USER#*:}"
    livekit_secret=$(cat "$ROOT$ETC/config/livekit.secret" 2>/dev/null || true)
    # LiveKit insists on a file that nobody else may read.
    say "hearth: $livekit_secret" >"$WORK/rendered"
    put "$ETC/livekit/livekit.keys" 0600 "$CONTAINER_USER" <"$WORK/rendered"
    changed livekit
    render "$SETUP/templates/livekit.yaml"
    put "$ETC/livekit/livekit.yaml" 0640 "0:${CONTAINER_USER#*:}" <"$WORK/rendered"
    changed livekit
}

# Two files of one template: what runs until there is a certificate, and what runs then.
configure_nginx() {
    make_directory "$ETC/nginx" 0755 0:0
    TLS=no
    export TLS
    if [ "$HTTP_PORT" != 0 ]; then
        render "$NGINX_TEMPLATE"
        put "$ETC/nginx/waiting.conf" 0644 0:0 <"$WORK/rendered"
        changed nginx
    fi
    TLS=yes
    render "$NGINX_TEMPLATE"
    put "$ETC/nginx/nginx.conf" 0644 0:0 <"$WORK/rendered"
    changed nginx
    check_nginx
}

# nginx looks at the whole of it, also at the certificate.
check_nginx() {
    if [ "$DRY_RUN" = yes ] || ! has_certificate; then
        return 0
    fi
    mkdir -p "$ROOT/var/run/hearth"
    nginx -t -q -e stderr -c "$ROOT$ETC/nginx/nginx.conf" ||
        fail "$EXIT_FAILED" "nginx does not take $ETC/nginx/nginx.conf; it says why above"
}

# changed SERVICE: note that it has to be started anew, also by the next run if this one is
# interrupted.
TO_RESTART=' '
changed() {
    [ "$PUT" = written ] || return 0
    case $TO_RESTART in
    *" $1 "*) return 0 ;;
    esac
    TO_RESTART="$TO_RESTART$1 "
}
