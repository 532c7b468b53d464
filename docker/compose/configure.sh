#!/bin/sh
# Makes what compose.yaml mounts: configuration, secrets, certificate; from .env beside it.
# docs/compose.md goes through it. It can be called as often as one likes, for instance after each
# renewal of the certificate.
# shellcheck disable=SC2034,SC2154 # files beside this one read and set these variables
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
SETUP=$HERE/../setup
NGINX_TEMPLATE=$HERE/../nginx/nginx.conf.template
NGINX_WEBROOT=/challenges

# shellcheck source=docker/setup/parts.sh
. "$SETUP/parts.sh"

ETC=${HEARTH_COMPOSE_ETC:-$HERE/etc}
STATE=$ETC/.setup
DEFAULT_ENV=$HERE/.env
NGINX_OWNER=101:101

platform_settings() {
    say "COMPOSE_PROFILES|profiles||What runs besides: coturn, postgresql, monitoring, with commas between."
}

platform_clock_advice() {
    say "have it set: timedatectl set-ntp true"
}

platform_install_advice() {
    say "install $1"
}

has_profile() {
    case ",$COMPOSE_PROFILES," in
    *",$1,"*) return 0 ;;
    esac
    return 1
}

# What is otherwise here than on a machine without containers of its own.
check_for_compose() {
    if [ "$CERTIFICATE" = acme ]; then
        wrong - "CERTIFICATE is acme: obtain the certificate on this machine, for instance with certbot --webroot-path $ETC/challenges, and name its files"
    fi
    if { is_on "$CALLS" || has_profile coturn; } && [ -z "$ADDRESS" ]; then
        wrong - "ADDRESS is missing: calls come to the public address of this machine"
    fi
    ! is_on "$TURN" || wrong - "TURN is LiveKit's own relay, which compose.yaml does not publish"
    is_on "$CALLS" || wrong - "CALLS is no: compose.yaml has LiveKit; take it out there and in nginx' depends_on"
    for name in HTTP_PORT FEDERATION_PORT; do
        eval "value=\$$name"
        # Docker takes 0 for any port.
        [ "$value" != 0 ] || wrong - "$name is 0: compose.yaml publishes it; take it out there"
    done
    [ "$SETTINGS_WRONG" = no ] || exit "$EXIT_SETTINGS"
}

derive_for_compose() {
    MEMORY_MB=$(memory_mb MemTotal)
    COTURN=no
    ! has_profile coturn || COTURN=yes
    ! has_profile monitoring || METRICS=yes
    # Docker hides who comes by IPv6 behind an address of its own, which is one at home.
    ADMIN_API=no
    derive
    HEARTH_ADDRESS=0.0.0.0
    HEARTH_PORT=8008
    HEARTH_UPSTREAM=hearth:8008
    TRUSTED_PROXIES='"10.213.86.2"'
    METRICS_ADDRESS=0.0.0.0
    LIVEKIT_ADDRESS=0.0.0.0
    LIVEKIT_PORT=7880
    LIVEKIT_UPSTREAM=livekit:7880
    COTURN_PORT=3478
    COTURN_SECRET=$(secret_of coturn)
    ! has_profile postgresql || DATABASE_URL=postgresql://hearth:$(secret_of postgresql)@postgresql/hearth
    export COTURN_PORT COTURN_SECRET DATABASE_URL METRICS ADMIN_API
}

secret_of() {
    cat "$ROOT$ETC/secrets/$1" 2>/dev/null || true
}

# Inside nginx listens where it needs no rights; compose.yaml publishes the ports as they are set.
nginx_for_compose() {
    NGINX_RUN=/run/nginx
    NGINX_HTTP2_DIRECTIVE=yes
    NGINX_USER=''
    IPV6=no
    HTTP_PORT=8080 HTTPS_PORT=8443 FEDERATION_PORT=8448
    CERTIFICATE_PATH=/tls/fullchain.pem
    CERTIFICATE_KEY_PATH=/tls/privkey.pem
    TLS=yes
    export TLS
    make_directory "$ETC/nginx" 0755 0:0
    make_directory "$ETC/challenges" 0755 0:0
    render "$NGINX_TEMPLATE"
    put "$ETC/nginx/nginx.conf" 0644 0:0 <"$WORK/rendered"
}

# copy_certificate: compose mounts the directory, so that a renewed file is seen.
copy_certificate() {
    make_directory "$ETC/tls" 0700 "$NGINX_OWNER"
    copy_for_nginx "$CERTIFICATE" fullchain.pem
    copy_for_nginx "$CERTIFICATE_KEY" privkey.pem
}

copy_for_nginx() {
    if cmp -s "$ROOT$1" "$ROOT$ETC/tls/$2"; then
        return 0
    fi
    doing "copy $1 to $ETC/tls/$2" || return 0
    (umask 077 && cp "$ROOT$1" "$ROOT$ETC/tls/$2.part")
    set_access "$ETC/tls/$2.part" 0600 "$NGINX_OWNER"
    move_in "$ETC/tls/$2"
}

steps() {
    make_directory "$ETC" 0755 0:0
    make_directory "$STATE" 0700 0:0
    make_directory "$ETC/secrets" 0755 0:0
    ! has_profile coturn || put_secret "$ETC/secrets/coturn" 0:0
    ! has_profile postgresql || put_secret "$ETC/secrets/postgresql" 70:70
    ! has_profile monitoring || put_secret "$ETC/secrets/grafana" 472:472
    # Not with "|| exit": whatever fails in it would be passed over then.
    (
        # What follows changes settings for the containers' own side.
        derive_for_compose
        configure_hearth
        configure_livekit
        if has_profile coturn; then
            make_directory "$ETC/coturn" 0750 0:65534
            render "$SETUP/templates/turnserver.conf"
            put "$ETC/coturn/turnserver.conf" 0600 65534:65534 <"$WORK/rendered"
        fi
        nginx_for_compose
        echo "$CHANGES" >"$WORK/changes"
        echo "$KEPT" >"$WORK/kept"
    )
    CHANGES=$(cat "$WORK/changes")
    KEPT=$(cat "$WORK/kept")
    copy_certificate
}

install() {
    check_for_compose
    # Copies of the configuration go beside it; everything else that grows is in compose's volumes.
    DATA=$(dirname "$ETC")
    check_clock
    check_certificate
    DRY_RUN=yes
    say "what is to do:"
    steps
    if [ "$CHANGES" = 0 ]; then
        say "  nothing"
        end_of_kept
        return 0
    fi
    [ "$ONLY_SHOW" = no ] || return 0
    ask
    DRY_RUN=no
    CHANGES=0
    say "doing it:"
    mkdir -p "$ROOT$STATE"
    steps
    : >"$ROOT$STATE/complete"
    end_of_kept
    say "done: docker compose up -d"
    say "and where it runs already: docker compose restart; for a new certificate alone: docker compose kill -s HUP nginx"
}

uninstall() {
    fail "$EXIT_USAGE" "nothing is installed outside of this directory" \
        "docker compose down ends it, --volumes removes what users have made, and $ETC has the rest"
}

usage() {
    say "usage: $0 [--env FILE] [--dry-run] [--yes]"
    say "       $0 --example     a .env to begin with"
}

main "$@"
